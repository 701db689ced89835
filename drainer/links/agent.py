"""The link to the agent: line-delimited JSON on ``agent.sock``."""

import asyncio
import contextlib
import errno
import fcntl
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drainer.core.workload import AirflowIdentity, Orphan, Outcome, Task, Workload
from drainer.errors import Incompatible, LinkError
from drainer.ports import LinkInfo

PROTOCOL = 1
#: An answer can be long: a thousand running tasks with their identities.
LINE = 4 * 1024 * 1024
#: How long the agent may take to answer, seconds; its thread answers for a deaf loop after 1 s.
TIMEOUT = 4.0


class AgentLink:
    """Speaks to the agent in one worker process; see `drainer.ports.Link`."""

    busy_interval = 1.0  # a fallback: the agent tells of changes by itself
    idle_interval = 15.0

    def __init__(self, directory: Path, exit_code: int = 3) -> None:
        self._path = directory / "agent.sock"
        self._exit_code = exit_code
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._news: Callable[[Workload], None] = lambda workload: None
        self._lost: Callable[[], None] = lambda: None
        self._ended: asyncio.Future[tuple[Orphan, ...]] | None = None
        self._dead: str | None = None
        self.info = LinkInfo(name="agent")

    # -- the connection ------------------------------------------------------------------
    async def connect(self) -> LinkInfo:
        """Connect, watch, and learn what the worker can do.

        Raises:
            LinkError: no agent, no answer, or an agent that speaks another version.
        """
        await self.close()
        try:
            async with asyncio.timeout(TIMEOUT):
                stream, self._writer = await asyncio.open_unix_connection(str(self._path), limit=LINE)
        except (OSError, TimeoutError) as exc:
            self._dead = self._proof_of_death(exc)
            raise LinkError(f"no agent answers on {self._path}") from exc
        self._dead = None
        self._reader = asyncio.create_task(self._read(stream), name="agent-link")
        try:
            hello = await self._ask("hello")
            if hello.get("protocol") != PROTOCOL:
                raise Incompatible(
                    f"the agent speaks protocol {str(hello.get('protocol'))[:10]}, this drainer speaks {PROTOCOL}"
                )
            await self._ask("watch")
        except LinkError:
            await self.close()
            raise
        self.info = _info(hello)
        return self.info

    def _proof_of_death(self, exc: BaseException) -> str | None:
        """A refused socket and a free lock: the process that held both is dead.

        The lock is a POSIX lock of the worker's main process: its children don't hold it,
        and the kernel frees it when the process dies, however it dies.
        """
        if getattr(exc, "errno", None) != errno.ECONNREFUSED:
            return None
        try:
            with open(f"{self._path}.lock", "a") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.lockf(file, fcntl.LOCK_UN)
        except OSError:
            return None
        return "the worker process is dead: its socket refuses and its lock is free"

    def gone(self) -> str | None:
        return self._dead

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None
        self._disconnected()

    def _disconnected(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(LinkError("the connection to the agent was lost"))
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(LinkError("the worker went away without a word"))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        try:
            while line := await stream.readline():
                self._take(line)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # broken, or not what our protocol says: connect anew
        self._disconnected()
        self._lost()

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Be told when the connection breaks by itself."""
        self._lost = callback

    def _take(self, line: bytes) -> None:
        message = json.loads(line)
        if message.get("event") == "ended":
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(_orphans(message))
        elif message.get("event") == "status":
            self._news(_workload(message))
        else:
            future = self._waiting.pop(message.get("id"), None)
            if future is not None and not future.done():
                future.set_result(message)

    async def _ask(self, do: str, **fields: object) -> dict[str, Any]:
        if self._writer is None:
            raise LinkError("not connected to the agent")
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        line = json.dumps({"v": PROTOCOL, "do": do, "id": number, **fields})
        try:
            self._writer.write(line.encode() + b"\n")
            async with asyncio.timeout(TIMEOUT):
                answer = await future
        except TimeoutError as exc:
            raise LinkError(f"the agent did not answer {do} within {TIMEOUT:g} s") from exc
        except OSError as exc:
            raise LinkError("the connection to the agent was lost") from exc
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            error = answer["error"]
            raise LinkError(f"the agent refused {do}: {error.get('code')}: {error.get('detail')}")
        return answer

    # -- the link ------------------------------------------------------------------------
    async def observe(self) -> Workload:
        return _workload(await self._ask("status"))

    async def stop(self, drain: str) -> Workload:
        return _workload(await self._ask("stop", drain=drain))

    async def resume(self) -> Workload:
        return _workload(await self._ask("resume"))

    async def kill(self, grace: float) -> tuple[Orphan, ...]:
        """Raises LinkError when the worker died without a word, or takes longer than its bound."""
        ended: asyncio.Future[tuple[Orphan, ...]] = asyncio.get_running_loop().create_future()
        self._ended = ended
        try:
            with contextlib.suppress(LinkError):  # it may be dead before its answer is out
                await self._ask("terminate", when="now", code=self._exit_code, grace=grace)
            async with asyncio.timeout(grace + 25):
                return await ended
        except TimeoutError as exc:
            raise LinkError("the worker did not end in time") from exc
        finally:
            if not ended.done():
                ended.cancel()
            elif not ended.cancelled():
                ended.exception()  # looked at, or asyncio complains
            self._ended = None

    async def end(self) -> None:
        await self._ask("terminate", when="empty")

    def on_news(self, callback: Callable[[Workload], None]) -> None:
        self._news = callback


def socket_exists(directory: Path) -> bool:
    """Whether an agent has ever served in `directory`."""
    return os.path.exists(directory / "agent.sock")


def _info(hello: dict[str, Any]) -> LinkInfo:
    return LinkInfo(
        name="agent",
        worker=hello.get("hostname"),
        pid=hello.get("pid"),
        can_hand_back=bool(hello.get("hand_back")),
        can_end=True,
        app=str(hello.get("app")),
        versions={key: str(hello.get(key)) for key in ("agent", "celery", "kombu", "python")},
        pool=hello.get("pool"),
        concurrency=hello.get("concurrency"),
        limits=tuple(str(limit) for limit in hello.get("limits", ())),
    )


def _workload(status: dict[str, Any]) -> Workload:
    return Workload(
        verified=bool(status.get("verified")),
        running=tuple(_task(task) for task in status.get("running", ())),
        reserved=len(status.get("reserved", ())),
        returning=int(status.get("returning", 0)),
        scheduled=int(status.get("scheduled", 0)),
        consuming=tuple(status.get("consuming", ())),
        extra={
            key: status.get(key) for key in ("gate", "loop", "broker", "paused", "returned", "pid", "hostname", "drain")
        },
    )


def _airflow(item: dict[str, Any]) -> AirflowIdentity | None:
    found = item.get("airflow")
    return (
        None if found is None else AirflowIdentity(**{key: found.get(key) for key in AirflowIdentity.__annotations__})
    )


def _task(item: dict[str, Any]) -> Task:
    return Task(item["id"], item["name"], item.get("started"), item.get("acks_late"), _airflow(item))


def _orphans(message: dict[str, Any]) -> tuple[Orphan, ...]:
    return tuple(
        Orphan(item["id"], item["name"], None, None, Outcome(item.get("outcome", "unknown")), _airflow(item))
        for item in message.get("orphans", ())
    )
