"""A drain as a value, and the whole state of a sidecar around it."""

from dataclasses import dataclass, replace
from enum import StrEnum

from drainer.core.clock import Instant
from drainer.core.phases import VERDICTS, Phase
from drainer.core.workload import Orphan, Task


class Trigger(StrEnum):
    """Who may ask for a drain. Only an operator's deadline outranks the others'."""

    OPERATOR = "operator"
    CONTROLLER = "controller"
    TERMINATION = "termination"  # the pod, or the process, is on its way out
    RECOVERY = "recovery"  # state.json could not be read: not consuming until a person decides


class After(float):
    """A deadline so many seconds from now."""


class At(float):
    """A deadline at a wall-clock instant, seconds since the epoch."""


class Special(StrEnum):
    DEFAULT = "default"  # the configured timeout; on an update: leave it as it is
    NEVER = "never"


DeadlineSpec = After | At | Special


@dataclass(frozen=True)
class Policy:
    """Settings that the state machine needs, all in seconds.

    timeout: of a drain that doesn't say. cap: the longest that any may last, from its
    request. settle: how long a worker must stay empty. kill_grace: from SIGTERM to SIGKILL
    of an Airflow task. kill_bound: when an expired drain is released whatever happened.
    end_worker: whether a released worker is ended even if nothing terminates it.
    """

    timeout: float = 24 * 3600.0
    cap: float = 48 * 3600.0
    settle: float = 0.2
    kill_grace: float = 30.0
    kill_bound: float = 60.0
    end_worker: bool = False


@dataclass(frozen=True)
class Drain:
    """One drain, from its request to its verdict.

    deadline None is "no deadline". operator_deadline: set by a person, so that no
    automatic trigger may move it. stopped: when not consuming was verified.
    """

    id: str
    trigger: Trigger
    by: str
    reason: str
    requested: Instant
    deadline: Instant | None
    operator_deadline: bool = False
    stopped: Instant | None = None
    ended: Instant | None = None
    released: Instant | None = None
    orphans: tuple[Orphan, ...] = ()


@dataclass(frozen=True)
class Record:
    """One line of the history: what happened, when (wall seconds), by whom and why."""

    at: float
    event: str
    by: str
    detail: str
    drain: str | None = None


#: Lines of history kept.
HISTORY = 50


@dataclass(frozen=True)
class State:
    """Everything a sidecar knows; the parts that must survive it go to state.json.

    idle_since (boot seconds) and running are not kept: after a restart the worker is looked
    at again. intent: digest of the intent file's content that was acted on last.
    """

    phase: Phase = Phase.SERVING
    drain: Drain | None = None
    terminating: bool = False
    history: tuple[Record, ...] = ()
    intent: str | None = None
    idle_since: float | None = None
    running: tuple[Task, ...] = ()

    @property
    def has_verdict(self) -> bool:
        return self.phase in VERDICTS

    @property
    def released(self) -> bool:
        return self.drain is not None and self.drain.released is not None

    def record(self, record: Record) -> "State":
        return replace(self, history=(*self.history, record)[-HISTORY:])
