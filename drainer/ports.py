"""What the sidecar needs of the world around it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from drainer.core.workload import Orphan, Workload


@dataclass(frozen=True)
class LinkInfo:
    """How the worker is spoken to. name: agent or pidbox; limits: sentences for people."""

    name: str
    worker: str | None = None
    pid: int | None = None
    can_hand_back: bool = False
    can_end: bool = False
    app: str = "celery"
    versions: Mapping[str, str] = field(default_factory=dict)
    pool: str | None = None
    concurrency: int | None = None
    limits: tuple[str, ...] = ()


class Link(Protocol):
    """A way to speak to one worker. Every call may raise `drainer.errors.LinkError`.

    LinkError means "unknown". Proof of death is told by `gone`.
    """

    #: How often to look while a drain is on and while none is, seconds.
    @property
    def busy_interval(self) -> float: ...

    @property
    def idle_interval(self) -> float: ...

    async def connect(self) -> LinkInfo:
        """Find the worker and learn what it can do."""

    async def observe(self) -> Workload:
        """Look at the worker now."""

    async def stop(self, drain: str) -> Workload:
        """Stop consuming and hand back; done when the workload says `verified`."""

    async def resume(self) -> Workload:
        """Consume again, from exactly the queues of before."""

    async def kill(self, grace: float) -> tuple[Orphan, ...]:
        """Cut off what runs and end the worker; what became of it."""

    async def end(self) -> None:
        """End the empty worker."""

    def gone(self) -> str | None:
        """Why the worker is known to be dead, or None when that isn't known."""

    def on_news(self, callback: Callable[[Workload], None]) -> None:
        """Be told of changes without asking, where the link can."""

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Be told that the worker went silent or died, where the link can."""

    async def close(self) -> None:
        """Let go of the worker; it isn't harmed."""
