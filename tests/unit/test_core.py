"""The pure core: durations, clocks, the table, deadlines, recovery, intents, the codec."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainer.core.clock import Instant, Now
from drainer.core.codec import Unreadable, decode_state, encode_state
from drainer.core.drain import After, At, Policy, Special, State, Trigger
from drainer.core.durations import format_duration, parse_duration
from drainer.core.events import (
    Cancelled,
    Ended,
    EndWorker,
    Forced,
    Gone,
    KillWorker,
    Observed,
    Release,
    Requested,
    ResumeConsuming,
    StopConsuming,
    Tick,
)
from drainer.core.intent import Malformed, parse_intent
from drainer.core.machine import next_wake, step
from drainer.core.phases import TABLE, TRANSITIONS, VERDICTS, Phase
from drainer.core.workload import Task, Workload
from drainer.errors import Refused

NOW = Now(1_800_000_000.0, 500.0, "boot-1")
POLICY = Policy(settle=0.0)
BUSY = Workload(True, (Task("t1", "work", NOW.wall - 10, True),))
IDLE = Workload(True)


def later(seconds: float, step_wall: float = 0.0) -> Now:
    return Now(NOW.wall + seconds + step_wall, NOW.boot + seconds, "boot-1")


def draining(deadline: object = Special.DEFAULT, trigger: Trigger = Trigger.OPERATOR, policy: Policy = POLICY) -> State:
    return step(State(), Requested("d-1", trigger, "me", "", deadline), NOW, policy)[0]  # type: ignore[arg-type]


def code(refusal: "pytest.ExceptionInfo[Refused]") -> str:
    return refusal.value.code


@given(st.integers(min_value=0, max_value=10**12))
def test_durations_come_back_as_they_went(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(
        milliseconds / 1000, abs=1e-6, rel=1e-12
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86400), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800), ("1.5h", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 minutes", "1h-", "h", "1e9h", "NaNs", "∞", "1h30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_the_table_has_each_pair_once_and_verdicts_lead_nowhere_else() -> None:
    assert len(TABLE) == len(TRANSITIONS)
    assert all(row.target is row.source for row in TRANSITIONS if row.source in VERDICTS)


def test_a_drain_from_request_to_release() -> None:
    state, actions = step(State(), Requested("d-1", Trigger.OPERATOR, "me", "deploy"), NOW, POLICY)
    assert actions == [StopConsuming("d-1")]
    state, actions = step(state, Observed(BUSY), later(1), POLICY)
    assert (state.phase, actions) == (Phase.DRAINING, [])
    state, actions = step(state, Observed(IDLE), later(2), POLICY)
    assert (state.phase, actions) == (Phase.DRAINED, [Release()])
    assert [record.event for record in state.history] == ["requested", "stopped", "drained", "released"]


def test_a_worker_that_is_not_verified_is_never_drained_however_idle() -> None:
    state = draining()
    for seconds in range(1, 100):
        state, _ = step(state, Observed(Workload(False)), later(seconds), POLICY)
    assert state.phase is Phase.DRAINING


def test_idleness_must_last_for_the_settle_time_of_the_slower_of_policy_and_link() -> None:
    policy = Policy(settle=1.0)
    state = draining(policy=policy)
    slow = Workload(True, settle=3.0)
    state, _ = step(state, Observed(slow), later(1), policy)
    state, _ = step(state, Observed(slow), later(3.9), policy)
    assert state.phase is Phase.DRAINING
    state, _ = step(state, Observed(BUSY), later(4), policy)
    state, _ = step(state, Observed(slow), later(5), policy)
    state, _ = step(state, Observed(slow), later(7.9), policy)
    assert state.phase is Phase.DRAINING
    state, _ = step(state, Observed(slow), later(8.1), policy)
    assert state.phase is Phase.DRAINED


def test_the_deadline_cuts_off_and_records_orphans_before_the_kill() -> None:
    state, _ = step(draining(After(60)), Observed(BUSY), later(1), POLICY)
    state, actions = step(state, Tick(), later(59.9), POLICY)
    assert actions == []
    state, actions = step(state, Tick(), later(60), POLICY)
    assert (state.phase, actions) == (Phase.EXPIRED, [KillWorker(30.0)])
    assert state.drain is not None
    assert [(orphan.id, orphan.elapsed) for orphan in state.drain.orphans] == [("t1", 70.0)]
    assert not state.released
    state, actions = step(state, Gone("dead"), later(61), POLICY)
    assert actions == [Release()]


@pytest.mark.parametrize("hours", [-300, -5, 5, 300])
def test_steps_of_the_wall_clock_move_no_deadline_also_over_a_restart(hours: int) -> None:
    state = decode_state(json.loads(json.dumps(encode_state(draining(After(60))))))
    moved = later(59, hours * 3600)
    assert step(state, Tick(), moved, POLICY)[0].phase is Phase.DRAINING
    assert step(state, Tick(), later(60.5, hours * 3600), POLICY)[0].phase is Phase.EXPIRED
    assert state.drain is not None
    assert state.drain.deadline is not None
    assert state.drain.deadline.as_wall(moved) == pytest.approx(moved.wall + 1)


def test_after_a_reboot_the_wall_clock_is_what_is_left() -> None:
    instant = Instant.of(NOW).plus(100)
    assert instant.seconds_until(Now(NOW.wall + 40, 3.0, "boot-2")) == 60


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (After(-5), "deadline-in-the-past"),
        (After(0), "deadline-in-the-past"),
        (At(NOW.wall - 1), "deadline-in-the-past"),
        (After(48 * 3600 + 60), "deadline-beyond-cap"),
        (At(NOW.wall + 49 * 3600), "deadline-beyond-cap"),
    ],
)
def test_deadlines_that_are_refused(spec: After | At, expected: str) -> None:
    with pytest.raises(Refused) as refusal:
        step(State(), Requested("d", Trigger.OPERATOR, "me", "", spec), NOW, POLICY)
    assert code(refusal) == expected
    assert refusal.value.hint


def test_an_operator_moves_a_deadline_either_way_within_the_cap() -> None:
    state = draining(After(3600))
    for seconds in (7200, 60, 48 * 3600):
        state, _ = step(state, Requested("x", Trigger.OPERATOR, "me", "", After(seconds)), NOW, POLICY)
        assert state.drain is not None
        assert state.drain.deadline is not None
        assert state.drain.deadline.seconds_until(NOW) == seconds
        assert state.drain.id == "d-1"
    with pytest.raises(Refused):
        step(state, Requested("x", Trigger.OPERATOR, "me", "", After(48 * 3600)), later(3600), POLICY)


def test_an_automatic_trigger_brings_an_automatic_deadline_nearer_and_no_operators() -> None:
    automatic = draining(After(3600), Trigger.CONTROLLER)
    nearer, _ = step(automatic, Requested("x", Trigger.CONTROLLER, "c", "", After(60)), NOW, POLICY)
    assert nearer.drain is not None
    assert nearer.drain.deadline is not None
    assert nearer.drain.deadline.seconds_until(NOW) == 60
    farther, _ = step(nearer, Requested("x", Trigger.CONTROLLER, "c", "", After(600)), NOW, POLICY)
    assert farther == nearer
    operators = draining(After(3600))
    assert step(operators, Requested("x", Trigger.CONTROLLER, "c", "", After(60)), NOW, POLICY)[0] == operators


def test_on_a_terminating_worker_no_deadline_means_the_cap_and_the_history_says_so() -> None:
    state = draining(Special.NEVER)
    assert state.drain is not None
    assert state.drain.deadline is None
    state, _ = step(state, Requested("x", Trigger.TERMINATION, "SIGTERM"), NOW, POLICY)
    assert state.drain is not None
    assert state.drain.deadline is not None
    assert state.drain.deadline.seconds_until(NOW) == POLICY.cap
    assert "cap" in state.history[-1].detail
    state, _ = step(State(terminating=True), Requested("x", Trigger.OPERATOR, "me", "", Special.NEVER), NOW, POLICY)
    assert "the cap" in state.history[-1].detail


def test_cancel_goes_back_to_serving_and_is_refused_elsewhere() -> None:
    state, actions = step(draining(), Cancelled("me"), NOW, POLICY)
    assert (state.phase, state.drain, actions) == (Phase.SERVING, None, [ResumeConsuming()])
    with pytest.raises(Refused) as refusal:
        step(state, Cancelled("me"), NOW, POLICY)
    assert code(refusal) == "nothing-drains"
    terminating, _ = step(draining(), Requested("x", Trigger.TERMINATION, "SIGTERM"), NOW, POLICY)
    with pytest.raises(Refused) as refusal:
        step(terminating, Cancelled("me"), NOW, POLICY)
    assert code(refusal) == "terminating"
    drained, _ = step(draining(), Observed(IDLE), NOW, POLICY)
    for event in (Cancelled("me"), Forced("me"), Requested("x", Trigger.OPERATOR, "me")):
        with pytest.raises(Refused) as refusal:
            step(drained, event, NOW, POLICY)
        assert code(refusal) == "verdict-reached"


def test_force_twice_is_refused() -> None:
    state, actions = step(draining(), Forced("me"), NOW, POLICY)
    assert isinstance(actions[0], KillWorker)
    with pytest.raises(Refused) as refusal:
        step(state, Forced("me"), NOW, POLICY)
    assert code(refusal) == "verdict-reached"
    with pytest.raises(Refused) as refusal:
        step(State(), Forced("me"), NOW, POLICY)
    assert code(refusal) == "nothing-drains"


def test_an_update_alone_never_starts_a_drain() -> None:
    with pytest.raises(Refused) as refusal:
        step(State(), Requested("x", Trigger.OPERATOR, "me", "", After(60), only_update=True), NOW, POLICY)
    assert code(refusal) == "nothing-drains"


def test_a_dead_worker_is_drained_and_what_it_ran_is_listed() -> None:
    state, _ = step(draining(), Observed(BUSY), later(1), POLICY)
    state, actions = step(state, Gone("dead"), later(2), POLICY)
    assert (state.phase, actions) == (Phase.DRAINED, [Release()])
    assert state.drain is not None
    assert [orphan.id for orphan in state.drain.orphans] == ["t1"]


def test_news_of_an_end_mean_nothing_before_the_verdict() -> None:
    state, _ = step(draining(), Observed(BUSY), later(1), POLICY)
    assert step(state, Ended(()), later(2), POLICY) == (state, [])


def test_the_release_ends_a_terminating_worker() -> None:
    state, _ = step(State(), Requested("d-1", Trigger.TERMINATION, "SIGTERM"), NOW, POLICY)
    _, actions = step(state, Observed(IDLE), later(1), POLICY)
    assert actions == [Release(), EndWorker()]


def test_recovery_has_no_verdict_until_a_person_decides() -> None:
    state = draining(Special.NEVER, Trigger.RECOVERY)
    for seconds in (1, 10**7):
        state, actions = step(state, Observed(IDLE), later(seconds), POLICY)
        assert (state.phase, actions) == (Phase.DRAINING, [])
        state, _ = step(state, Gone("dead"), later(seconds), POLICY)
        assert state.phase is Phase.DRAINING
    assert step(state, Cancelled("me"), NOW, POLICY)[0].phase is Phase.SERVING
    state, actions = step(state, Requested("d-2", Trigger.OPERATOR, "me"), NOW, POLICY)
    assert actions == [StopConsuming("d-2")]
    assert step(state, Observed(IDLE), later(1), POLICY)[0].phase is Phase.DRAINED


def test_next_wake_is_the_deadline_or_the_end_of_the_settle_time() -> None:
    policy = Policy(settle=5)
    assert next_wake(State(), policy, NOW, 5) is None
    state = draining(After(60), policy=policy)
    assert next_wake(state, policy, later(10), 5) == 50
    state, _ = step(state, Observed(IDLE), later(10), policy)
    assert next_wake(state, policy, later(11), 5) == 4


@pytest.mark.parametrize(
    "values",
    [
        None,
        {},
        {"version": 2},
        {"version": 1, "phase": "serving"},
        {"version": 1, "phase": "odd", "drain": None, "terminating": False, "history": [], "intent": None},
        {"version": 1, "phase": "draining", "drain": None, "terminating": False, "history": [], "intent": None},
        {"version": 1, "phase": "serving", "drain": {"id": 1}, "terminating": False, "history": [], "intent": None},
        [],
        "x",
    ],
)
def test_a_state_that_is_not_understood_is_refused_not_guessed(values: object) -> None:
    with pytest.raises(Unreadable):
        decode_state(values)


def test_intents() -> None:
    text = json.dumps({"id": "d-9", "by": "controller", "reason": "deploy", "more": 1})
    intent = parse_intent(text)
    assert intent is not None
    assert (intent.id, intent.deadline) == ("d-9", Special.DEFAULT)
    window = {"id": "d", "at": "2026-11-22T03:00:00Z", "deadline": "2026-11-22T05:00:00+00:00"}
    intent = parse_intent(json.dumps(window))
    assert intent is not None
    assert intent.deadline == 7200
    assert parse_intent(" \n") is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"id": 5}',
        '{"id": ""}',
        '{"id": "../x"}',
        '{"id": "d", "deadline": "tomorrow"}',
        '{"id": "d", "by": 1}',
    ]
    + ['{"id": "d", "deadline": "2026-11-22T05:00:00Z"}', '{"id": "d", "deadline": "2026-11-22T05:00:00", "at": "x"}']
    + ['{"id": "d", "at": "2026-11-22T05:00:00Z", "deadline": "2026-11-22T04:00:00Z"}'],
)
def test_malformed_intents_say_what_is_wrong_without_quoting(text: str) -> None:
    with pytest.raises(Malformed) as error:
        parse_intent(text)
    assert re.match("the intent|deadline|at", str(error.value))
