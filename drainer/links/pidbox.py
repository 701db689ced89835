"""The link over the broker: Celery's own remote control, where no agent is loaded.

Stop, wait, release, no more (DESIGN 3.2): it can't hand back, can't end the worker, and a
container restart undoes its stop. What it knows about Celery is measured in facts/celery.md:
a reply says only that a cancel was *scheduled* (1.2), so queues are read back until none is
left; a broadcast to a worker that reconnects is lost (1.6), so it looks again for as long as
the drain lasts; a BRPOP stays armed for `brpop_timeout` (1.3), so emptiness counts only
after that. Messages are fanned out to every worker of the broker: it polls rarely.

The only importer of celery outside the agent; imported only when this link is chosen.
"""

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery import Celery, __version__

from drainer.core.workload import AirflowIdentity, Orphan, Task, Workload
from drainer.errors import LinkError
from drainer.links.airflow_args import identity
from drainer.ports import LinkInfo

#: How long a worker may take to reply, seconds.
REPLY = 2.0
#: The shortest and the longest pause between two looks while a drain is on, seconds.
SOON, RARELY = 2.0, 30.0


@dataclass(frozen=True)
class BrokerAccess:
    """How to reach the worker's broker; a wrong value means no reply (facts/celery.md 9)."""

    url: str
    worker: str | None = None
    key_prefix: str = ""
    control_exchange: str = "celery"
    ca_file: str | None = None
    sentinel_master: str | None = None
    brpop_timeout: float = 1.0


class PidboxLink:
    """Speaks to one worker over its broker; see `drainer.ports.Link`."""

    idle_interval = RARELY

    def __init__(self, access: BrokerAccess) -> None:
        self._access = access
        self._app = _app(access)
        self._worker = access.worker
        self._cancelled: list[str] = []
        self._pause = SOON
        self._last: tuple[object, ...] | None = None

    @property
    def busy_interval(self) -> float:
        """Backs off while nothing changes, with jitter: a fleet that polls costs O(workers²)."""
        return self._pause * random.uniform(0.8, 1.2)

    async def connect(self) -> LinkInfo:
        if self._worker is None:
            self._worker = await self._find()
        await self._call("ping")
        return LinkInfo(
            name="pidbox",
            worker=self._worker,
            versions={"celery": __version__},
            limits=(
                "prefetched tasks are not handed back: this worker still runs them",
                "tasks can't be cut off at the deadline, and the worker can't be ended",
                "a restart of the worker process undoes the stop",
            ),
        )

    async def observe(self) -> Workload:
        queues = await self._call("active_queues")
        active, reserved, scheduled = [await self._call(name) for name in ("active", "reserved", "scheduled")]
        names = tuple(queue["name"] for queue in queues or ())
        running = tuple(_task(item) for item in active or ())
        look = (names, tuple(task.id for task in running), len(reserved or ()))
        self._pause = SOON if look != self._last else min(RARELY, self._pause * 1.5)
        self._last = look
        return Workload(
            verified=not names,
            running=running,
            reserved=len(reserved or ()),
            scheduled=len(scheduled or ()),
            consuming=names,
            settle=self._access.brpop_timeout + 0.2,
            extra={"hostname": self._worker, "paused": list(self._cancelled)},
        )

    async def stop(self, drain: str) -> Workload:
        workload = await self.observe()
        for name in workload.consuming:
            if name not in self._cancelled:
                self._cancelled.append(name)
            await self._call("cancel_consumer", queue=name)
        for _ in range(10):
            workload = await self.observe()
            if workload.verified:
                break
            await asyncio.sleep(0.1)
        self._pause = SOON
        return workload

    async def resume(self) -> Workload:
        names, self._cancelled = self._cancelled, []
        for name in names:
            await self._call("add_consumer", queue=name)
        return await self.observe()

    async def kill(self, grace: float) -> tuple[Orphan, ...]:
        raise LinkError("the broker link can't cut off tasks")

    async def end(self) -> None:
        raise LinkError("the broker link can't end the worker")

    def gone(self) -> str | None:
        return None  # silence on the broker proves nothing

    def on_news(self, callback: Callable[[Workload], None]) -> None:
        """There are no news on this link: Celery's events cost more than rare polls."""

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Silence is only noticed by the next look."""

    async def close(self) -> None:
        """Nothing is kept open between two calls."""

    # -- remote control ----------------------------------------------------------------------
    async def _find(self) -> str:
        replies = await asyncio.to_thread(self._broadcast, "ping", None, {})
        names = sorted(name for reply in replies for name in reply)
        if len(names) == 1:
            return str(names[0])
        if not names:
            raise LinkError(
                "no worker answers remote control on this broker: wrong URL, database or prefix, "
                "or the worker has worker_enable_remote_control=False"
            )
        raise LinkError(f"{len(names)} workers answer on this broker; name ours with --worker celery@host")

    async def _call(self, method: str, **arguments: object) -> Any:
        replies = await asyncio.to_thread(self._broadcast, method, self._worker, arguments)
        for reply in replies:
            if self._worker in reply:
                answer = reply[self._worker]
                if isinstance(answer, dict) and "error" in answer:
                    raise LinkError(f"the worker refused {method}")
                return answer
        raise LinkError(f"no answer from {self._worker} to {method}: unknown, not idle")

    def _broadcast(self, method: str, worker: str | None, arguments: dict[str, object]) -> list[dict[str, Any]]:
        """In a thread, with a connection of its own: a pooled one may be broken unnoticed."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=REPLY)
                return (
                    self._app.control.broadcast(
                        method,
                        arguments=arguments,
                        destination=None if worker is None else [worker],
                        connection=connection,
                        reply=True,
                        timeout=REPLY,
                        limit=None if worker is None else 1,
                    )
                    or []
                )
        except Exception as exc:
            # Without the text: it may hold the URL and with it the password.
            raise LinkError(f"the broker can't be reached for remote control ({type(exc).__name__})") from None


def _app(access: BrokerAccess) -> Celery:
    options: dict[str, object] = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0}
    if access.key_prefix:
        options["global_keyprefix"] = access.key_prefix
    if access.sentinel_master:
        options["master_name"] = access.sentinel_master
    app = Celery("drainer-pidbox", broker=access.url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_backend=None,
        control_exchange=access.control_exchange,
        broker_transport_options=options if access.url.startswith(("redis", "sentinel")) else {},
        broker_connection_timeout=5.0,
    )
    if access.ca_file:
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": access.ca_file}
        if access.url.startswith("amqp"):
            app.conf.broker_use_ssl = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": access.ca_file}
    return app


def _task(item: dict[str, Any]) -> Task:
    """Only what may be shown: the arguments in `item` go no further than this line."""
    found = identity(str(item.get("name")), item.get("args"))
    return Task(
        id=str(item.get("id")),
        name=str(item.get("name")),
        started=item.get("time_start"),
        acks_late=None if item.get("acknowledged") is None else not item["acknowledged"],
        airflow=None if found is None else AirflowIdentity(**found),
    )
