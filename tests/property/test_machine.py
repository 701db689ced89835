"""The state machine under any order of events: one verdict, no way back, deadlines by the rules."""

import os
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from drainer.core.clock import Now
from drainer.core.codec import decode_state, encode_state
from drainer.core.drain import After, At, Policy, Special, State, Trigger
from drainer.core.events import (
    Cancelled,
    Ended,
    Event,
    Forced,
    Gone,
    KillWorker,
    Observed,
    Release,
    Requested,
    Silent,
    StopConsuming,
    Terminating,
    Tick,
)
from drainer.core.machine import step
from drainer.core.phases import TABLE, VERDICTS, Phase
from drainer.core.workload import Task, Workload
from drainer.errors import Refused

POLICY = Policy(timeout=1000, cap=2000, settle=5, kill_grace=3, kill_bound=60)
SECONDS = st.floats(min_value=0.01, max_value=3000, allow_nan=False)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.boot, self.wall = 1000.0, 1_800_000_000.0
        self.count = 0
        self.verdicts: dict[str, Phase] = {}
        self.busy = False  # what the world was last seen to do
        self.killed: set[str] = set()

    def now(self) -> Now:
        return Now(self.wall, self.boot, "boot-1")

    def apply(self, event: Event) -> None:
        before, now = self.state, self.now()
        try:
            after, actions = step(before, event, now, POLICY)
        except Refused:
            assert isinstance(event, Requested | Cancelled | Forced)
            return
        assert before.phase == after.phase or any(
            row.source == before.phase and row.target == after.phase for row in TABLE.values()
        ), "every change of phase is in the table"
        if before.phase in VERDICTS:
            assert after.phase == before.phase, "no way back from a verdict"
            assert after.drain is not None
            assert before.drain is not None
            assert after.drain.id == before.drain.id
        if after.phase is Phase.DRAINED and before.phase is Phase.DRAINING:
            seen = event.workload if isinstance(event, Observed) else None
            assert isinstance(event, Gone) or (seen and not seen.running and not seen.reserved and not seen.returning)
            assert not isinstance(event, Observed) or event.workload.verified
        if any(isinstance(action, Release) for action in actions):
            assert after.phase in VERDICTS, "no release before a verdict"
            assert not before.released, "released once"
            if after.phase is Phase.DRAINED and isinstance(event, Observed):
                assert not event.workload.running, "no release while anything runs"
        if any(isinstance(action, KillWorker) for action in actions):
            assert after.drain is not None
            assert after.drain.id not in self.killed, "killed once"
            self.killed.add(after.drain.id)
            deadline = before.drain.deadline if before.drain else None
            assert isinstance(event, Forced) or (deadline is not None and deadline.seconds_until(now) <= 0), (
                "nobody is killed before the deadline"
            )
        if any(isinstance(action, StopConsuming) for action in actions):
            assert after.phase is Phase.DRAINING
        self.deadline_rules(before, after, event, now)
        if after.phase in VERDICTS:
            assert after.drain is not None
            assert self.verdicts.setdefault(after.drain.id, after.phase) is after.phase
        self.state = after

    def deadline_rules(self, before: State, after: State, event: Event, now: Now) -> None:
        was, drain = before.drain, after.drain
        if was is None or drain is None or was.id != drain.id or was.deadline == drain.deadline:
            return
        if isinstance(event, Terminating) or (isinstance(event, Requested) and event.trigger is Trigger.TERMINATION):
            assert was.deadline is None or drain.deadline is None or drain.deadline.boot <= was.deadline.boot
            return
        assert isinstance(event, Requested), "a deadline moves only by a request"
        if event.trigger is Trigger.OPERATOR:
            assert drain.deadline is None or drain.deadline.boot <= drain.requested.boot + POLICY.cap + 1.001
        else:
            assert not was.operator_deadline, "an automatic trigger never overrides an operator's deadline"
            assert drain.deadline is not None
            assert was.deadline is None or drain.deadline.boot < was.deadline.boot, "and only brings one nearer"

    @rule(
        trigger=st.sampled_from([Trigger.OPERATOR, Trigger.CONTROLLER, Trigger.TERMINATION]),
        spec=st.one_of(
            st.sampled_from(list(Special)),
            st.floats(min_value=-100, max_value=3000, allow_nan=False).map(After),
            st.floats(min_value=-100, max_value=3000, allow_nan=False).map(lambda s: ("at", s)),
        ),
        only_update=st.booleans(),
    )
    def request(self, trigger: Trigger, spec: object, only_update: bool) -> None:
        self.count += 1
        if isinstance(spec, tuple):
            spec = At(self.wall + spec[1])
        self.apply(Requested(f"d-{self.count}", trigger, "x", "why", spec, only_update))  # type: ignore[arg-type]

    @rule()
    def cancel(self) -> None:
        terminating = self.state.terminating
        before = self.state.phase
        self.apply(Cancelled("x"))
        if before is Phase.DRAINING:
            assert (self.state.phase is Phase.DRAINING) is terminating

    @rule()
    def force(self) -> None:
        self.apply(Forced("x"))

    @rule()
    def terminating(self) -> None:
        self.apply(Terminating("preStop"))

    @rule(verified=st.booleans(), running=st.integers(0, 2), reserved=st.integers(0, 1), returning=st.integers(0, 1))
    def observe(self, verified: bool, running: int, reserved: int, returning: int) -> None:
        tasks = tuple(Task(f"t{number}", "work", self.wall - 5, True) for number in range(running))
        self.apply(Observed(Workload(verified, tasks, reserved, returning)))

    @rule()
    def silent(self) -> None:
        self.apply(Silent())

    @rule()
    def gone(self) -> None:
        self.apply(Gone("dead"))

    @precondition(lambda self: self.state.phase is Phase.EXPIRED)
    @rule()
    def ended(self) -> None:
        assert self.state.drain is not None
        self.apply(Ended(self.state.drain.orphans[:1]))

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.boot += seconds
        self.wall += seconds
        self.apply(Tick())

    @rule(hours=st.integers(-30, 30))
    def the_wall_clock_steps(self, hours: int) -> None:
        """Whatever the wall clock does, no deadline moves."""
        drain = self.state.drain
        before = drain.deadline.seconds_until(self.now()) if drain and drain.deadline else None
        self.wall += hours * 3600
        phase = self.state.phase
        self.apply(Tick())
        drain = self.state.drain
        after = drain.deadline.seconds_until(self.now()) if drain and drain.deadline else None
        assert before == after
        assert phase == self.state.phase or (before is not None and before <= 0)

    @rule()
    def the_sidecar_restarts(self) -> None:
        """Only what is kept comes back; nothing of the drain is lost by it."""
        kept = decode_state(encode_state(self.state))
        assert kept == replace(self.state, idle_since=None, running=())
        self.state = kept

    @invariant()
    def a_phase_has_its_drain(self) -> None:
        assert (self.state.drain is None) is (self.state.phase is Phase.SERVING)

    @invariant()
    def a_passed_deadline_is_a_verdict(self) -> None:
        """Time alone is enough: after a tick nothing drains beyond its deadline."""
        state, _ = step(self.state, Tick(), self.now(), POLICY)
        if state.phase is Phase.DRAINING and state.drain and state.drain.deadline:
            assert state.drain.deadline.seconds_until(self.now()) > 0


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=int(os.environ.get("DRAINER_TEST_EXAMPLES", "500")),
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
)
