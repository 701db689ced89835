"""Does to the worker what the machine decides, and keeps it so.

One task follows the worker: it connects, compares what is wanted with what is, and looks
again when the link tells of news, when the machine acts, or when it is time. "Wanted" comes
from the state alone, so a restart of the sidecar or of the worker needs no memory here.
"""

import asyncio
import contextlib
from collections.abc import Callable

from drainer import clock, logs
from drainer.core.clock import Instant
from drainer.core.events import Action, Ended, EndWorker, Gone, KillWorker, Observed, Silent
from drainer.core.machine import next_wake
from drainer.core.phases import Phase
from drainer.core.workload import Orphan, Workload
from drainer.errors import Incompatible, LinkError
from drainer.ports import Link, LinkInfo
from drainer.sidecar.brain import Brain

log = logs.get("link")

#: Pauses between two attempts to reach a worker that doesn't answer, seconds.
RETRY_FIRST, RETRY_MOST = 0.1, 5.0
#: A worker may take so long to start before its silence is called a problem, seconds.
STARTING = 10.0
#: A status that somebody asks for is at most so old, unless the worker takes longer, seconds.
RECENT, FRESH = 0.05, 1.0
#: A link that looks at least so often by itself may be asked for each status, seconds.
CHEAP = 20.0


class Hands:
    """Follows one worker over the link that `choose` finds."""

    def __init__(self, brain: Brain, choose: Callable[[], Link]) -> None:
        self._brain, self._choose = brain, choose
        self._link: Link | None = None
        self._connected = False
        self._closing: asyncio.Future[None] | None = None
        self.info: LinkInfo | None = None
        self.workload: Workload | None = None
        self.last_contact: float | None = None
        self._wake = asyncio.Event()
        self._looks: set[asyncio.Event] = set()
        self._kill: KillWorker | None = None
        self._end = False
        self._told_gone = False
        self._retry = RETRY_FIRST
        self._since = Instant.of(clock.read())
        brain.on_actions(self.act)

    def act(self, actions: list[Action]) -> None:
        """Take note of what the machine wants; the following task does it."""
        for action in actions:
            if isinstance(action, KillWorker):
                self._kill = action
            elif isinstance(action, EndWorker):
                self._end = True
        self._wake.set()

    async def refresh(self) -> None:
        """Have a fresh look for somebody who asks, where a look is cheap; at most `FRESH` late."""
        seen = self.last_contact
        if self._link is None or not self._connected or self._link.idle_interval > CHEAP:
            return
        if seen is not None and clock.read().wall - seen < RECENT:
            return
        looked = asyncio.Event()
        self._looks.add(looked)
        self._wake.set()
        try:
            async with asyncio.timeout(FRESH):
                await looked.wait()
        except TimeoutError:
            pass
        finally:
            self._looks.discard(looked)

    async def follow(self) -> None:
        """Never returns; whatever the worker does, this goes on."""
        self._go_on_after_restart()
        while True:
            self._wake.clear()
            try:
                await self._turn()
                self._retry = RETRY_FIRST
                pause = self._pause()
            except Exception as exc:
                if not isinstance(exc, LinkError):  # a fault of ours must not end the sidecar in mid-drain
                    log.error("following the worker failed", error=exc)
                    exc = LinkError("something in drainer broke; see the log")
                await self._lost(exc)
                pause = self._retry
                self._retry = min(RETRY_MOST, self._retry * 2)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _go_on_after_restart(self) -> None:
        state = self._brain.state
        if state.phase is Phase.EXPIRED and not state.released:
            self._kill = KillWorker(self._brain.policy.kill_grace)
        if state.released and state.phase is Phase.DRAINED:
            self._end = state.terminating or self._brain.policy.end_worker

    def _pause(self) -> float:
        assert self._link is not None
        busy = not self._brain.serving
        pause = self._link.busy_interval if busy else self._link.idle_interval
        settle = max(self._brain.policy.settle, self._brain.link_settle)
        wake = next_wake(self._brain.state, self._brain.policy, clock.read(), settle)
        return pause if wake is None else min(pause, wake + 0.001)

    # -- one turn -----------------------------------------------------------------------------
    async def _turn(self) -> None:
        if not self._connected:
            await self._connect()
        assert self._link is not None
        assert self.info is not None
        if self._kill is not None:
            return await self._cut_off(self._link, self._kill)
        workload = await self._link.observe()
        if self.info.pool is None and self.info.name == "agent" and workload.extra.get("loop") == "ok":
            self.info = await self._link.connect()  # it was met before it had a pool
        if self._brain.serving:
            if self._stopped_by_us(workload):
                workload = await self._link.resume()
        elif self._must_stop(workload):
            assert self._brain.state.drain is not None
            workload = await self._link.stop(self._brain.state.drain.id)
        self._seen(workload)
        if self._end and workload.verified:
            await self._link.end()
        return None

    def _stopped_by_us(self, workload: Workload) -> bool:
        return workload.extra.get("gate") == "closed" or (bool(workload.extra.get("paused")) and workload.verified)

    def _must_stop(self, workload: Workload) -> bool:
        return not workload.verified or workload.extra.get("gate") == "open"

    async def _connect(self) -> None:
        link = self._link = self._choose()
        self.info = await link.connect()
        self._connected, self._told_gone = True, False
        link.on_news(self._on_news)
        link.on_lost(self._on_lost)
        self._brain.problems.clear("no-link", "worker-silent", "agent-incompatible")
        self._brain.metrics.link_up.labels(self.info.name).set(1)
        log.info("connected", link=self.info.name, worker=self.info.worker, pool=self.info.pool)
        for limit in self.info.limits:
            log.info("limit of this worker", limit=limit)

    async def _cut_off(self, link: Link, kill: KillWorker) -> None:
        assert self.info is not None
        assert self._brain.state.drain is not None
        if not self.info.can_end:
            self._kill = None
            self._brain.apply(Ended(self._brain.state.drain.orphans))
            return
        orphans: tuple[Orphan, ...] = await link.kill(kill.grace)
        self._kill = None
        self._brain.apply(Ended(orphans))

    # -- what was seen ----------------------------------------------------------------------
    def _on_news(self, workload: Workload) -> None:
        self._seen(workload)
        unknown = self.info is None or self.info.pool is None
        if unknown or self._end or (not self._brain.serving and self._must_stop(workload)):
            self._wake.set()

    def _seen(self, workload: Workload) -> None:
        for looked in self._looks:
            looked.set()
        now = clock.read()
        self.workload, self.last_contact = workload, now.wall
        self._brain.link_settle = workload.settle
        self._brain.metrics.last_contact.set(now.wall)
        self._brain.metrics.reserved.set(workload.reserved)
        self._brain.problems.clear("worker-silent")
        self._brain.apply(Observed(workload))
        if self._brain.state.idle_since is not None:
            self._wake.set()  # look again when the settle time is over

    def _on_lost(self) -> None:
        self._disconnect()
        self._wake.set()

    def _disconnect(self) -> None:
        if self.info is not None:
            self._brain.metrics.link_up.labels(self.info.name).set(0)
        self.workload = None
        if self._connected and self._link is not None:
            self._closing = asyncio.ensure_future(self._link.close())
        self._connected = False

    async def _lost(self, error: LinkError) -> None:
        why = str(error)
        gone = self._link.gone() if self._link is not None else None
        was_connected = self._connected
        self._disconnect()
        if gone is not None:
            self.tell_gone(gone)
            return
        self._brain.apply(Silent())
        if isinstance(error, Incompatible):
            self._brain.problems.put("agent-incompatible", why)
            return
        if was_connected:
            return  # try once to connect again before anybody is alarmed
        if self.info is not None:
            self._brain.problems.put("worker-silent", why)
        elif -self._since.seconds_until(clock.read()) > STARTING:
            self._brain.problems.put("no-link", why)

    def tell_gone(self, why: str) -> None:
        """The worker process is known to be dead, from the link or from whoever started it."""
        self.workload = None
        if self._told_gone:
            return
        self._told_gone = True
        self._kill, self._end = None, False
        log.info("worker gone", why=why)
        self._brain.problems.clear("worker-silent")
        self._brain.apply(Gone(why))
        self._brain.changed()
