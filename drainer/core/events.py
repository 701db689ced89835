"""What comes in (events) and what goes out (actions) of the state machine."""

from dataclasses import dataclass

from drainer.core.drain import DeadlineSpec, Special, Trigger
from drainer.core.workload import Orphan, Workload


@dataclass(frozen=True)
class Requested:
    """Somebody asks for a drain, or asks again. id: for a new drain; only_update: start none."""

    id: str
    trigger: Trigger
    by: str
    reason: str = ""
    deadline: DeadlineSpec = Special.DEFAULT
    only_update: bool = False


@dataclass(frozen=True)
class Cancelled:
    by: str
    reason: str = ""


@dataclass(frozen=True)
class Forced:
    by: str
    reason: str = ""


@dataclass(frozen=True)
class Terminating:
    """The pod or the process is on its way out: from now on no cancel, and "never" is the cap."""

    by: str


@dataclass(frozen=True)
class Observed:
    """The worker answered."""

    workload: Workload


@dataclass(frozen=True)
class Silent:
    """The worker did not answer: unknown, never idle."""


@dataclass(frozen=True)
class Gone:
    """The worker process is known to be dead: proof, not silence."""

    detail: str


@dataclass(frozen=True)
class Ended:
    """The worker ended by our hand; what became of the tasks that ran."""

    orphans: tuple[Orphan, ...]


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = Requested | Cancelled | Forced | Terminating | Observed | Silent | Gone | Ended | Tick


@dataclass(frozen=True)
class StopConsuming:
    drain: str


@dataclass(frozen=True)
class ResumeConsuming:
    pass


@dataclass(frozen=True)
class KillWorker:
    """The deadline: end what runs, hand back what can be, end the worker. grace: seconds."""

    grace: float


@dataclass(frozen=True)
class Release:
    """The worker may die: write ``released``, answer the waiters."""


@dataclass(frozen=True)
class EndWorker:
    """End the empty worker."""


Action = StopConsuming | ResumeConsuming | KillWorker | Release | EndWorker
