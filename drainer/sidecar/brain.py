"""The only mutable state of a sidecar: events go in, the pure machine decides, actions come out."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace

from drainer import clock, logs
from drainer.core.codec import Unreadable, encode_state
from drainer.core.drain import Drain, Policy, Record, Special, State, Trigger
from drainer.core.events import Action, Event, Release, Requested
from drainer.core.machine import next_wake, step
from drainer.core.phases import Phase
from drainer.metrics import Metrics
from drainer.sidecar.problems import Problem, Problems
from drainer.sidecar.store import Store

log = logs.get("sidecar")


def new_id() -> str:
    """A drain's id: short enough to be read aloud, unlikely to repeat."""
    return f"d-{uuid.uuid4().hex[:10]}"


class Brain:
    """Applies events one at a time; every method runs in the event loop's thread."""

    def __init__(self, store: Store, policy: Policy, metrics: Metrics) -> None:
        self._store, self.policy, self.metrics = store, policy, metrics
        self.problems = Problems(self._on_problem)
        self.state = State()
        self.link_settle = 0.0
        self._unsaved = False
        self._unreadable = False
        self._listeners: set[Callable[[], None]] = set()
        self._actor: Callable[[list[Action]], None] = lambda actions: None
        self._tick_needed = asyncio.Event()

    # -- start ----------------------------------------------------------------------------
    def recover(self) -> list[Action]:
        """Go on from ``state.json``; from the safe side, not consuming, when it can't be read."""
        try:
            kept = self._store.load()
        except Unreadable as exc:
            self._unreadable = True
            self.problems.put("state-unreadable", f"{exc}; the file is kept")
            now = clock.read()
            asked = Requested(new_id(), Trigger.RECOVERY, "drainer", str(exc), Special.NEVER)
            self.state, actions = step(State(), asked, now, self.policy)
            self._show()
            return actions
        if kept is not None:
            self.state = kept
            log.info("went on", phase=str(kept.phase), drain=kept.drain.id if kept.drain else None)
        if not self.state.released:
            self._store.unrelease()
        self._show()
        return []

    # -- events ---------------------------------------------------------------------------
    def apply(self, event: Event) -> State:
        """One event through the machine: saved before anything is done about it.

        Raises:
            Refused: the machine says no; nothing has changed.
        """
        before = self.state
        after, actions = step(before, event, clock.read(), self.policy)
        self.state = after
        if (encode_state(after) != encode_state(before) or self._unsaved) and not self._in_recovery(after):
            self._save(after)
        if any(isinstance(action, Release) for action in actions):
            self._release()
        self._observe_change(before, after)
        if actions:
            self._actor(actions)
        self._tick_needed.set()
        if before != after:
            self.changed()
        return after

    def intent_seen(self, digest: str) -> None:
        """Remember that this content of the intent file was acted on."""
        self.state = replace(self.state, intent=digest)
        if not self._in_recovery(self.state):
            self._save(self.state)

    async def ticking(self, tick: Event) -> None:
        """Apply `tick` whenever time alone may change something."""
        while True:
            wait = next_wake(self.state, self.policy, clock.read(), max(self.policy.settle, self.link_settle))
            self._tick_needed.clear()
            try:
                # At most a minute: asyncio's clock stands still while a machine is suspended.
                async with asyncio.timeout(60.0 if wait is None else min(60.0, wait + 0.001)):
                    await self._tick_needed.wait()
            except TimeoutError:
                self.apply(tick)
                await asyncio.sleep(0.01)  # a wake that changes nothing must not spin

    def on_actions(self, actor: Callable[[list[Action]], None]) -> None:
        self._actor = actor

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Be told of every change; returns the way to end that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def changed(self) -> None:
        """Tell everyone who subscribed to look again."""
        for listener in list(self._listeners):
            listener()

    @staticmethod
    def _in_recovery(state: State) -> bool:
        """A state.json that can't be read stays until a person has decided."""
        return state.drain is not None and state.drain.trigger is Trigger.RECOVERY

    # -- keeping --------------------------------------------------------------------------
    def _save(self, state: State) -> None:
        try:
            if self._unreadable:
                self._store.set_aside()
                self._unreadable = False
                self.problems.clear("state-unreadable")
            self._store.save(state)
        except OSError as exc:
            self._unsaved = True
            self.problems.put("state-not-saved", f"state.json: {exc.strerror}")
        else:
            self._unsaved = False
            self.problems.clear("state-not-saved")

    def _release(self) -> None:
        try:
            self._store.release(str(self.state.phase))
        except OSError as exc:
            self.problems.put("state-not-saved", f"released: {exc.strerror}")

    # -- showing --------------------------------------------------------------------------
    def _observe_change(self, before: State, after: State) -> None:
        for record in _new_records(before, after):
            log.info(record.event, drain=record.drain, by=record.by, why=record.detail, phase=str(after.phase))
        was, drain = before.drain, after.drain
        if drain is not None and was is not None and drain.id == was.id:
            if drain.stopped and not was.stopped:
                self.metrics.stop_seconds.observe(_between(drain, drain.stopped.boot))
            if drain.ended and not was.ended:
                self.metrics.drain_seconds.labels(after.phase).observe(_between(drain, drain.ended.boot))
            if drain.released and not was.released:
                for orphan in drain.orphans:
                    self.metrics.orphans.labels(orphan.outcome).inc()
                    log.warning("orphan", drain=drain.id, task=orphan.id, name=orphan.name, outcome=str(orphan.outcome))
        self._show()

    def _show(self) -> None:
        self.metrics.show_phase(self.state.phase)
        self.metrics.running.set(len(self.state.running))
        self.metrics.released.set(1 if self.state.released else 0)
        drain = self.state.drain
        deadline = drain.deadline.as_wall(clock.read()) if drain and drain.deadline else 0
        self.metrics.deadline.set(deadline)

    def _on_problem(self, problem: Problem, stands: bool) -> None:
        self.metrics.problems.set(len(self.problems.standing()) if hasattr(self, "problems") else 0)
        if stands:
            log.warning("problem", code=problem.code, why=problem.detail, advice=problem.advice)
        else:
            log.info("problem gone", code=problem.code)
        if hasattr(self, "_listeners"):
            self.changed()

    @property
    def serving(self) -> bool:
        return self.state.phase is Phase.SERVING


def _between(drain: Drain, boot: float) -> float:
    return max(0.0, boot - drain.requested.boot)


def _new_records(before: State, after: State) -> list[Record]:
    old = set(map(id, before.history))
    return [record for record in after.history if id(record) not in old]
