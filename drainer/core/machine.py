"""The state machine: ``step(state, event, now, policy)``. Pure.

Invariants, held by tests/property: one verdict a drain; no way back from a verdict; no
verdict "drained" while anything is known to run; a deadline moves only by a request; no
release before a verdict. A refused request raises and changes nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from drainer.core import deadlines
from drainer.core.clock import Instant, Now
from drainer.core.drain import Drain, Policy, Record, Special, State, Trigger
from drainer.core.durations import format_duration
from drainer.core.events import (
    Action,
    Cancelled,
    Ended,
    EndWorker,
    Event,
    Forced,
    Gone,
    KillWorker,
    Observed,
    Release,
    Requested,
    ResumeConsuming,
    Silent,
    StopConsuming,
    Terminating,
    Tick,
)
from drainer.core.phases import TABLE, Kind, Phase
from drainer.core.refusals import refuse
from drainer.core.workload import Orphan, Outcome, Task

Step = tuple[State, list[Action]]
NOBODY = "drainer"


def step(state: State, event: Event, now: Now, policy: Policy) -> Step:
    """The next state and what has to be done, in order.

    Raises:
        Refused: for a Requested, Cancelled or Forced that can't be; the state stays.
    """
    return _HANDLERS[type(event)](state, event, now, policy)


def next_wake(state: State, policy: Policy, now: Now, settle: float) -> float | None:
    """Seconds until time alone can change something; None when it can't. settle: seconds."""
    drain = state.drain
    if drain is None or drain.released is not None or drain.trigger is Trigger.RECOVERY:
        return None
    waits: list[float] = []
    if state.phase is Phase.DRAINING and drain.deadline is not None:
        waits.append(drain.deadline.seconds_until(now))
    if state.phase is Phase.DRAINING and state.idle_since is not None:
        waits.append(state.idle_since + settle - now.boot)
    if state.phase is Phase.EXPIRED and drain.ended is not None:
        waits.append(drain.ended.plus(policy.kill_bound).seconds_until(now))
    return max(0.0, min(waits)) if waits else None


# -- requests -----------------------------------------------------------------------------


def _requested(state: State, event: Requested, now: Now, policy: Policy) -> Step:
    if event.trigger is Trigger.TERMINATION:
        state, actions = _terminating(state, Terminating(event.by), now, policy)
        if state.has_verdict:
            return state, actions
    if state.has_verdict:
        raise refuse("verdict-reached", f"drain {_id(state)} is {state.phase} already")
    if state.drain is None and event.only_update:
        raise refuse("nothing-drains", "there is no drain to change")
    if state.drain is None or state.drain.trigger is Trigger.RECOVERY:
        deadline = deadlines.first(event.deadline, state.terminating, now, policy)
        drain = Drain(
            id=event.id,
            trigger=event.trigger,
            by=event.by,
            reason=event.reason,
            requested=Instant.of(now),
            deadline=deadline,
            operator_deadline=event.trigger is Trigger.OPERATOR,
        )
        state = replace(_move(state, Kind.REQUESTED), drain=drain, idle_since=None)
        state = _note(state, now, "requested", event.by, _asked(event, drain, now))
        return state, [StopConsuming(drain.id)]
    drain = deadlines.moved(state.drain, event, state.terminating, now, policy)
    if drain == state.drain:
        return state, []
    state = replace(_move(state, Kind.REQUESTED), drain=drain)
    return _note(state, now, "updated", event.by, _asked(event, drain, now)), []


def _cancelled(state: State, event: Cancelled, now: Now, policy: Policy) -> Step:
    if state.has_verdict:
        raise refuse("verdict-reached", f"drain {_id(state)} is {state.phase} already")
    if state.phase is Phase.SERVING:
        raise refuse("nothing-drains", "there is no drain to cancel")
    if state.terminating:
        raise refuse("terminating", "the worker is terminating: its drain can't be cancelled")
    state = _note(state, now, "cancelled", event.by, event.reason)
    return replace(_move(state, Kind.CANCELLED), drain=None, idle_since=None), [ResumeConsuming()]


def _forced(state: State, event: Forced, now: Now, policy: Policy) -> Step:
    if state.has_verdict:
        raise refuse("verdict-reached", f"drain {_id(state)} is {state.phase} already")
    if state.phase is Phase.SERVING:
        raise refuse("nothing-drains", "there is no drain to force")
    return _expire(state, Kind.FORCED, event.by, event.reason or "forced", now, policy)


def _terminating(state: State, event: Terminating, now: Now, policy: Policy) -> Step:
    if state.terminating:
        return state, []
    state = _note(replace(state, terminating=True), now, "terminating", event.by, "")
    if state.drain is not None and not state.has_verdict and state.drain.deadline is None:
        capped = replace(state.drain, deadline=Instant.of(now).plus(policy.cap))
        state = _note(replace(state, drain=capped), now, "updated", NOBODY, "no deadline became the cap: terminating")
    return state, [EndWorker()] if state.released else []


# -- what the worker is seen to do ----------------------------------------------------------


def _observed(state: State, event: Observed, now: Now, policy: Policy) -> Step:
    workload = event.workload
    state = replace(state, running=workload.running)
    drain = state.drain
    if state.phase is not Phase.DRAINING or drain is None:
        return state, []
    if workload.verified and drain.stopped is None:
        state = replace(state, drain=replace(drain, stopped=Instant.of(now)))
        took = format_duration(-drain.requested.seconds_until(now))
        state = _note(state, now, "stopped", NOBODY, f"not consuming, verified after {took}")
    idle = workload.verified and workload.empty
    since = (state.idle_since if state.idle_since is not None else now.boot) if idle else None
    state = replace(state, idle_since=since)
    if since is None or drain.trigger is Trigger.RECOVERY:
        return _check_deadline(state, now, policy)
    if now.boot - since >= max(policy.settle, workload.settle):
        return _release(_verdict(state, Kind.SETTLED, NOBODY, "nothing runs", (), now), now, policy)
    return _check_deadline(state, now, policy)


def _silent(state: State, event: Silent, now: Now, policy: Policy) -> Step:
    return _check_deadline(replace(state, idle_since=None), now, policy)


def _gone(state: State, event: Gone, now: Now, policy: Policy) -> Step:
    cut_off = state.running
    state = replace(state, running=(), idle_since=None)
    if state.phase is Phase.EXPIRED and not state.released:
        return _release(state, now, policy)
    if state.phase is not Phase.DRAINING or (state.drain and state.drain.trigger is Trigger.RECOVERY):
        return state, []
    orphans = tuple(_orphan(task, now) for task in cut_off)
    return _release(_verdict(state, Kind.WORKER_GONE, NOBODY, event.detail, orphans, now), now, policy)


def _ended(state: State, event: Ended, now: Now, policy: Policy) -> Step:
    if state.phase is not Phase.EXPIRED or state.drain is None or state.released:
        return state, []
    known = {orphan.id: orphan for orphan in state.drain.orphans}
    for orphan in event.orphans:
        before = known.get(orphan.id)
        known[orphan.id] = replace(before, outcome=orphan.outcome) if before else orphan
    # Seen running when the deadline passed, finished before the kill: not an orphan.
    told = {orphan.id for orphan in event.orphans}
    orphans = tuple(orphan for orphan in known.values() if orphan.id in told)
    state = replace(state, drain=replace(state.drain, orphans=orphans), running=())
    return _release(state, now, policy)


def _tick(state: State, event: Tick, now: Now, policy: Policy) -> Step:
    drain = state.drain
    if state.phase is Phase.EXPIRED and drain is not None and drain.ended is not None and not state.released:
        if drain.ended.plus(policy.kill_bound).seconds_until(now) <= 0:
            return _release(state, now, policy)
        return state, []
    return _check_deadline(state, now, policy)


# -- verdicts and release --------------------------------------------------------------------


def _check_deadline(state: State, now: Now, policy: Policy) -> Step:
    drain = state.drain
    if state.phase is not Phase.DRAINING or drain is None or drain.deadline is None:
        return state, []
    if drain.trigger is Trigger.RECOVERY or drain.deadline.seconds_until(now) > 0:
        return state, []
    return _expire(state, Kind.DEADLINE_PASSED, NOBODY, "the deadline passed", now, policy)


def _expire(state: State, kind: Kind, by: str, detail: str, now: Now, policy: Policy) -> Step:
    orphans = tuple(_orphan(task, now) for task in state.running)
    state = _verdict(state, kind, by, detail, orphans, now)
    return state, [KillWorker(policy.kill_grace)]


def _verdict(state: State, kind: Kind, by: str, detail: str, orphans: tuple[Orphan, ...], now: Now) -> State:
    assert state.drain is not None
    moved = _move(state, kind)
    moved = replace(moved, drain=replace(state.drain, ended=Instant.of(now), orphans=orphans), idle_since=None)
    left = f"; {len(orphans)} task(s) cut off" if orphans else ""
    return _note(moved, now, str(moved.phase), by, detail + left)


def _release(state: State, now: Now, policy: Policy) -> Step:
    assert state.drain is not None
    ended = state.phase is Phase.EXPIRED
    state = _move(state, Kind.RELEASED)
    state = replace(state, drain=replace(state.drain, released=Instant.of(now)))  # type: ignore[type-var]
    state = _note(state, now, "released", NOBODY, "the worker may die")
    end = [EndWorker()] if (state.terminating or policy.end_worker) and not ended else []
    return state, [Release(), *end]


def _move(state: State, kind: Kind) -> State:
    return replace(state, phase=TABLE[state.phase, kind].target)


def _orphan(task: Task, now: Now) -> Orphan:
    elapsed = None if task.started is None else max(0.0, now.wall - task.started)
    outcome = Outcome.UNKNOWN
    return Orphan(task.id, task.name, task.started, elapsed, outcome, task.airflow)


def _note(state: State, now: Now, event: str, by: str, detail: str) -> State:
    return state.record(Record(now.wall, event, by, detail, state.drain.id if state.drain else None))


def _asked(event: Requested, drain: Drain, now: Now) -> str:
    if drain.deadline is None:
        left = "no deadline"
    else:
        left = f"deadline in {format_duration(round(drain.deadline.seconds_until(now), 1))}"
        if event.deadline is Special.NEVER:
            left += " (the cap: on a terminating worker no deadline means that)"
    return f"{event.reason}; {left}" if event.reason else left


def _id(state: State) -> str:
    return state.drain.id if state.drain else "?"


_HANDLERS: dict[type, Callable[[State, Any, Now, Policy], Step]] = {
    Requested: _requested,
    Cancelled: _cancelled,
    Forced: _forced,
    Terminating: _terminating,
    Observed: _observed,
    Silent: _silent,
    Gone: _gone,
    Ended: _ended,
    Tick: _tick,
}
