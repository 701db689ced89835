"""The HTTP API: a path is a question, its status code the answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from drainer import logs
from drainer.core.drain import Trigger
from drainer.core.events import Cancelled, Forced, Requested
from drainer.errors import Refused
from drainer.metrics import CONTENT_TYPE
from drainer.sidecar import view
from drainer.sidecar.brain import Brain, new_id
from drainer.sidecar.hands import Hands
from drainer.sidecar.openapi import document
from drainer.sidecar.problem_details import problem, refused
from drainer.sidecar.requests import BODY, BadBody, parse_drain, parse_reason
from drainer.sidecar.tokens import Tokens

log = logs.get("api")

#: How long a body may take to arrive, seconds.
BODY_TIME = 10.0
#: Event streams at once.
STREAMS = 32
#: The longest silence on an event stream, seconds.
HEARTBEAT = 15.0

Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """The endpoints of one sidecar.

    local: the socket in the shared directory, for the containers of the pod. It asks for no
    token. tokens None on the port: no token either (then it listens on the loopback only).
    """

    def __init__(self, brain: Brain, hands: Hands, tokens: Tokens | None, local: bool = False) -> None:
        self._brain, self._hands, self._tokens, self._local = brain, hands, tokens, local
        self._streams = 0

    def app(self) -> Starlette:
        guard = self._guarded
        routes = [
            Route("/livez", self.livez),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.openapi),
            Route("/v1/status", guard(self.status)),
            Route("/v1/drain", guard(self.drain), methods=["POST"]),
            Route("/v1/drain", guard(self.update), methods=["PATCH"]),
            Route("/v1/drain", guard(self.cancel), methods=["DELETE"]),
            Route("/v1/force", guard(self.force), methods=["POST"]),
            Route("/v1/events", guard(self.events)),
        ]
        if self._local:
            routes.append(Route("/v1/termination", guard(self.termination), methods=["POST"]))
        handlers = {HTTPException: _http_problem, Exception: _broken}
        return Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            if self._tokens is not None and not _allowed(request, self._tokens):
                return problem("unauthorized", "the request has no valid bearer token")
            try:
                return await endpoint(request)
            except BadBody as exc:
                return problem(exc.code, exc.detail)
            except Refused as exc:
                return refused(exc)

        return guarded

    # -- questions ------------------------------------------------------------------------
    async def livez(self, request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(self, request: Request) -> Response:
        """503 once released. A draining worker stays ready: its log server must be reached."""
        released = self._brain.state.released
        return PlainTextResponse("released\n" if released else "ready\n", 503 if released else 200)

    async def metrics(self, request: Request) -> Response:
        return Response(self._brain.metrics.render(), media_type=CONTENT_TYPE)

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document())

    async def status(self, request: Request) -> Response:
        await self._hands.refresh()
        return JSONResponse(view.status(self._brain, self._hands))

    # -- orders ---------------------------------------------------------------------------
    async def drain(self, request: Request) -> Response:
        body = parse_drain(await _body(request))
        fresh = self._brain.serving
        asked = Requested(body.id or new_id(), Trigger.OPERATOR, body.by, body.reason, body.deadline)
        self._brain.apply(asked)
        return self._done(202 if fresh else 200)

    async def update(self, request: Request) -> Response:
        """Like POST, but never starts a drain: 409 when nothing drains."""
        body = parse_drain(await _body(request))
        asked = Requested(new_id(), Trigger.OPERATOR, body.by, body.reason, body.deadline, only_update=True)
        self._brain.apply(asked)
        return self._done(200)

    async def cancel(self, request: Request) -> Response:
        body = parse_reason(await _body(request))
        self._brain.apply(Cancelled(body.by, body.reason))
        return self._done(200)

    async def force(self, request: Request) -> Response:
        body = parse_reason(await _body(request))
        self._brain.apply(Forced(body.by, body.reason))
        return self._done(202)

    async def termination(self, request: Request) -> Response:
        """The pod is terminating: drain, and no way back. Said again, it changes nothing."""
        body = parse_reason(await _body(request))
        by = "preStop" if body.by == "api" else body.by
        self._brain.apply(Requested(new_id(), Trigger.TERMINATION, by, "the pod is terminating"))
        return self._done(202)

    def _done(self, code: int) -> Response:
        return JSONResponse(view.status(self._brain, self._hands), code)

    # -- live -----------------------------------------------------------------------------
    async def events(self, request: Request) -> Response:
        if self._streams >= STREAMS:
            return problem("too-many-streams", f"at most {STREAMS} event streams are served at once")
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def _stream(self) -> AsyncIterator[str]:
        changed = asyncio.Event()
        changed.set()
        unsubscribe = self._brain.subscribe(changed.set)
        self._streams += 1
        try:
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        await changed.wait()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                changed.clear()
                yield f"event: status\ndata: {json.dumps(view.status(self._brain, self._hands))}\n\n"
                await asyncio.sleep(0.05)  # a burst of changes is one event
        finally:
            self._streams -= 1
            unsubscribe()


def _allowed(request: Request, tokens: Tokens) -> bool:
    """Exactly one Authorization header with one valid bearer token."""
    given = request.headers.getlist("authorization")
    if len(given) != 1:
        return False
    scheme, _, token = given[0].partition(" ")
    return scheme.lower() == "bearer" and bool(token) and tokens.accepts(token.strip())


async def _body(request: Request) -> bytes:
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > BODY:
        raise HTTPException(413)
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_TIME):
            async for chunk in request.stream():
                received += chunk
                if len(received) > BODY:
                    raise HTTPException(413)
    except TimeoutError:
        raise HTTPException(408) from None
    except ClientDisconnect:
        raise HTTPException(408) from None
    return bytes(received)


_HTTP_PROBLEMS = {
    404: ("not-found", "see /openapi.json for what is here"),
    405: ("method-not-allowed", "see /openapi.json for the methods of this path"),
    408: ("too-slow", f"the body must arrive within {BODY_TIME:g} s"),
    413: ("too-large", f"a body has at most {BODY} bytes"),
}


async def _http_problem(request: Request, exc: HTTPException) -> Response:
    response = problem(*_HTTP_PROBLEMS[exc.status_code])
    response.headers.update(exc.headers or {})
    if exc.status_code in (408, 413):
        response.headers["connection"] = "close"
    return response


async def _broken(request: Request, exc: Exception) -> Response:
    log.error("request failed", path=request.url.path, error=exc)
    return problem("internal", "the request failed; nothing more is known here, see the log")
