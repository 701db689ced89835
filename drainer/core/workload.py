"""What a worker is known to be doing at one moment."""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True)
class AirflowIdentity:
    """A task instance of Airflow."""

    dag_id: str | None
    task_id: str | None
    run_id: str | None
    try_number: int | None
    map_index: int | None


@dataclass(frozen=True)
class Task:
    """A running task. started: seconds since the epoch. Never its arguments."""

    id: str
    name: str
    started: float | None
    acks_late: bool | None = None
    airflow: AirflowIdentity | None = None


class Outcome(StrEnum):
    """What became of a task that was still running at the end of its drain."""

    HANDED_BACK = "handed-back"  # late-acked: its message is in the queue again
    WITH_BROKER = "with-broker"  # late-acked: the broker redelivers it by its own rules
    LOST = "lost"  # early-acked: nobody runs it again
    AIRFLOW_RETRIES = "airflow-retries"
    UNKNOWN = "unknown"  # the worker could not tell


@dataclass(frozen=True)
class Orphan:
    """A task cut off by its drain. elapsed: seconds it had been running."""

    id: str
    name: str
    started: float | None
    elapsed: float | None
    outcome: Outcome = Outcome.UNKNOWN
    airflow: AirflowIdentity | None = None


@dataclass(frozen=True)
class Workload:
    """One look at a worker. "No answer" is never a Workload: silence is not idleness.

    verified: the worker was seen not to consume.
    reserved: tasks that wait to start here; returning: messages on the way back.
    scheduled: messages with an ETA, held; they are handed back, never awaited.
    settle: how long it must stay empty before that can be trusted, seconds (of the link).
    """

    verified: bool
    running: tuple[Task, ...] = ()
    reserved: int = 0
    returning: int = 0
    scheduled: int = 0
    consuming: tuple[str, ...] = ()
    settle: float = 0.0
    extra: dict[str, object] = field(default_factory=dict, compare=False, hash=False)

    @property
    def empty(self) -> bool:
        """Nothing runs, nothing will start, nothing is on its way back."""
        return not self.running and not self.reserved and not self.returning
