"""Which deadline a request gets, and which it may move."""

from dataclasses import replace

from drainer.core.clock import Instant, Now
from drainer.core.drain import After, At, DeadlineSpec, Drain, Policy, Special, Trigger
from drainer.core.durations import format_duration
from drainer.core.events import Requested
from drainer.core.refusals import refuse


def first(spec: DeadlineSpec, terminating: bool, now: Now, policy: Policy) -> Instant | None:
    """The deadline of a new drain; None is "no deadline".

    On a terminating worker "no deadline" means the cap: it can't outlive its pod.

    Raises:
        Refused: deadline-in-the-past, deadline-beyond-cap.
    """
    start = Instant.of(now)
    if spec is Special.NEVER:
        return start.plus(policy.cap) if terminating else None
    if spec is Special.DEFAULT:
        return start.plus(min(policy.timeout, policy.cap))
    return _explicit(spec, start, now, policy)


def moved(drain: Drain, event: Requested, terminating: bool, now: Now, policy: Policy) -> Drain:
    """`drain` after being asked again.

    An operator's deadline may move either way within the cap. An automatic trigger may
    bring an automatic deadline nearer; it never overrides an operator's, and it is never
    refused: what it may not do, it doesn't.
    """
    if event.deadline is Special.DEFAULT:
        return drain
    if event.trigger is not Trigger.OPERATOR:
        return _nearer(drain, event, terminating, now, policy)
    if event.deadline is Special.NEVER:
        deadline = drain.requested.plus(policy.cap) if terminating else None
    else:
        deadline = _explicit(event.deadline, drain.requested, now, policy)
    return replace(drain, deadline=deadline, operator_deadline=True, reason=event.reason or drain.reason)


def _nearer(drain: Drain, event: Requested, terminating: bool, now: Now, policy: Policy) -> Drain:
    if drain.operator_deadline:
        return drain
    wanted = _clamped(event.deadline, terminating, now, policy)
    if wanted is None:
        return drain
    if drain.deadline is not None and drain.deadline.seconds_until(now) <= wanted.seconds_until(now):
        return drain
    return replace(drain, deadline=wanted)


def _clamped(spec: DeadlineSpec, terminating: bool, now: Now, policy: Policy) -> Instant | None:
    if isinstance(spec, Special):
        return first(spec, terminating, now, policy)
    return Instant.of(now).plus(min(max(0.0, _seconds(spec, now)), policy.cap))


def _explicit(spec: After | At, start: Instant, now: Now, policy: Policy) -> Instant:
    seconds = _seconds(spec, now)
    if seconds <= 0:
        raise refuse("deadline-in-the-past", f"the deadline is {format_duration(-seconds)} in the past")
    deadline = Instant.of(now).plus(seconds)
    latest = start.plus(policy.cap)
    # A second of room: "48h" asked a moment after the request is the cap, not beyond it.
    if deadline.seconds_until(now) > latest.seconds_until(now) + 1.0:
        allowed = format_duration(max(0.0, round(latest.seconds_until(now))))
        raise refuse("deadline-beyond-cap", f"the deadline is beyond the cap; at most {allowed} from now")
    return deadline


def _seconds(spec: After | At, now: Now) -> float:
    return float(spec) - now.wall if isinstance(spec, At) else float(spec)
