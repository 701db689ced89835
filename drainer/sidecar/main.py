"""Wiring: settings in, a running sidecar out."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import IO

from drainer import logs
from drainer.core.drain import Special, Trigger
from drainer.core.events import Forced, Requested, Tick
from drainer.core.phases import Phase
from drainer.errors import Refused
from drainer.metrics import Metrics
from drainer.settings import LOOPBACK_LISTEN, OPEN_LISTEN, SidecarSettings
from drainer.sidecar import serve, store
from drainer.sidecar.api import Api
from drainer.sidecar.brain import Brain, new_id
from drainer.sidecar.hands import Hands
from drainer.sidecar.install import install_agent
from drainer.sidecar.intents import Intents
from drainer.sidecar.linking import EXPIRED_EXIT, Chooser
from drainer.sidecar.tokens import Tokens

log = logs.get("sidecar")


class Sidecar:
    """One sidecar: claims its directory at once, serves in `run`.

    Raises (from the constructor): DirectoryUnusable, DirectoryTaken, CantListen.
    """

    def __init__(self, settings: SidecarSettings) -> None:
        self.settings = settings
        store.prepare(settings.dir)
        self._claim: IO[str] = store.claim(settings.dir)
        self.metrics = Metrics()
        self.brain = Brain(store.Store(settings.dir), settings.policy(), self.metrics)
        self.hands = Hands(self.brain, Chooser(settings, self.brain))
        self._tokens = self._make_tokens()
        listen = settings.listen or (OPEN_LISTEN if settings.token_file else LOOPBACK_LISTEN)
        self._tcp = None if listen == "none" else serve.tcp_socket(listen)
        try:
            install_agent(settings.dir / "agent")
        except OSError as exc:
            # The worker goes undrained, or by the broker; it isn't kept from starting.
            log.error("the agent could not be put in place", error=exc, dir=str(settings.dir))

    def _make_tokens(self) -> Tokens | None:
        if self.settings.token_file is None:
            return None

        def on_problem(detail: str | None) -> None:
            if detail is None:
                self.brain.problems.clear("token-unreadable")
            else:
                self.brain.problems.put("token-unreadable", detail)

        return Tokens(self.settings.token_file, on_problem)

    async def run(self, stop: asyncio.Event) -> int:
        """Serve until `stop` is set; the exit code: 0, or 3 when the drain expired."""
        actions = self.brain.recover()
        if actions:
            self.hands.act(actions)
        unix = serve.unix_socket(self.settings.dir / "sidecar.sock")
        servers = [serve.server(Api(self.brain, self.hands, None, local=True).app())]
        sockets = [unix]
        if self._tcp is not None:
            servers.append(serve.server(Api(self.brain, self.hands, self._tokens).app()))
            sockets.append(self._tcp)
            log.info("listening", address=serve.address(self._tcp), token=self._tokens is not None)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.hands.follow(), name="follow"),
                group.create_task(self.brain.ticking(Tick()), name="tick"),
            ]
            if self.settings.intent_file is not None:
                intents = Intents(self.settings.intent_file, self.brain)
                tasks.append(group.create_task(intents.follow(), name="intents"))
            serving = [group.create_task(s.serve([sock])) for s, sock in zip(servers, sockets, strict=True)]
            await stop.wait()
            for server in servers:
                server.leave()
            for task in tasks:
                task.cancel()
            await asyncio.wait(serving, timeout=3)
        return EXPIRED_EXIT if self.brain.state.phase is Phase.EXPIRED else 0

    # -- signals ----------------------------------------------------------------------------
    def terminate(self, by: str) -> None:
        """The pod or the process is to end: drain; asked a second time: force."""
        state = self.brain.state
        with contextlib.suppress(Refused):
            if state.terminating and not state.has_verdict:
                self.brain.apply(Forced(by, "asked to end a second time"))
            else:
                self.brain.apply(Requested(new_id(), Trigger.TERMINATION, by, "asked to end", Special.DEFAULT))

    def over(self) -> bool:
        """Whether nothing is left to wait for: released, and the worker gone or not ours to end."""
        if self.hands.info is None:
            return True  # no worker was ever seen: nothing of it can be waited for
        ours = self.hands.workload is not None and self.hands.info.can_end
        return self.brain.state.released and not ours


async def run_sidecar(settings: SidecarSettings) -> int:
    """`drainer sidecar`: serve until SIGTERM has been answered by a whole drain."""
    sidecar = Sidecar(settings)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(name: str) -> Callable[[], None]:
        def handle() -> None:
            log.info("signal", signal=name)
            sidecar.terminate(name)
            if sidecar.over():
                stop.set()

        return handle

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal(number.name))
    sidecar.brain.subscribe(lambda: stop.set() if _finished(sidecar) else None)
    return await sidecar.run(stop)


def _finished(sidecar: Sidecar) -> bool:
    return sidecar.brain.state.terminating and sidecar.over()
