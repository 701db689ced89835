"""The states of a drain: the table. The docs' diagram and the tests are made from it."""

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where a worker stands."""

    SERVING = "serving"
    DRAINING = "draining"
    DRAINED = "drained"
    EXPIRED = "expired"


class Kind(StrEnum):
    """What can happen."""

    REQUESTED = "requested"
    CANCELLED = "cancelled"
    FORCED = "forced"
    DEADLINE_PASSED = "deadline-passed"
    SETTLED = "settled"
    WORKER_GONE = "worker-gone"
    RELEASED = "released"


#: The phases that are verdicts: exactly one a drain, and no way back from it.
VERDICTS = frozenset({Phase.DRAINED, Phase.EXPIRED})


@dataclass(frozen=True)
class Transition:
    """One row: in `source`, `kind` leads to `target`; `when` says in words under what rule."""

    source: Phase
    kind: Kind
    target: Phase
    when: str


TRANSITIONS: tuple[Transition, ...] = (
    Transition(Phase.SERVING, Kind.REQUESTED, Phase.DRAINING, "an operator, the controller or a termination asks"),
    Transition(Phase.DRAINING, Kind.REQUESTED, Phase.DRAINING, "asked again: the deadline may move"),
    Transition(Phase.DRAINING, Kind.CANCELLED, Phase.SERVING, "unless the worker is terminating"),
    Transition(Phase.DRAINING, Kind.SETTLED, Phase.DRAINED, "verified stopped and empty for the settle time"),
    Transition(Phase.DRAINING, Kind.WORKER_GONE, Phase.DRAINED, "the worker process is known to be dead"),
    Transition(Phase.DRAINING, Kind.DEADLINE_PASSED, Phase.EXPIRED, "work is left at the deadline"),
    Transition(Phase.DRAINING, Kind.FORCED, Phase.EXPIRED, "an operator does not wait for the deadline"),
    Transition(Phase.DRAINED, Kind.RELEASED, Phase.DRAINED, "at once"),
    Transition(Phase.EXPIRED, Kind.RELEASED, Phase.EXPIRED, "when what was left has been ended"),
)

TABLE: dict[tuple[Phase, Kind], Transition] = {(row.source, row.kind): row for row in TRANSITIONS}
