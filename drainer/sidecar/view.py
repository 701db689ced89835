"""The status as JSON values: what an operator, the CLI and the controller see."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from drainer import __version__, clock
from drainer.core.clock import Now
from drainer.core.drain import Drain
from drainer.core.workload import Orphan, Task
from drainer.sidecar.brain import Brain
from drainer.sidecar.hands import Hands


def rfc3339(wall: float | None) -> str | None:
    """An instant for people and machines, in UTC, to the millisecond."""
    if wall is None:
        return None
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status(brain: Brain, hands: Hands) -> dict[str, Any]:
    """Everything: phase, drain, worker, running tasks, problems, history."""
    now, state, workload = clock.read(), brain.state, hands.workload
    return {
        "version": __version__,
        "phase": str(state.phase),
        "released": state.released,
        "terminating": state.terminating,
        "drain": None if state.drain is None else _drain(state.drain, now),
        "worker": {
            "name": hands.info.worker if hands.info else None,
            "pid": hands.info.pid if hands.info else None,
            "link": hands.info.name if hands.info else None,
            "up": workload is not None,
            "last_contact": rfc3339(hands.last_contact),
            "pool": hands.info.pool if hands.info else None,
            "concurrency": hands.info.concurrency if hands.info else None,
            "app": hands.info.app if hands.info else None,
            "versions": dict(hands.info.versions) if hands.info else {},
            "limits": list(hands.info.limits) if hands.info else [],
        },
        "work": None
        if workload is None
        else {
            "stopped": workload.verified,
            "consuming": list(workload.consuming),
            "reserved": workload.reserved,
            "returning": workload.returning,
            "scheduled": workload.scheduled,
            "returned": workload.extra.get("returned"),
            "broker": workload.extra.get("broker"),
            "running": len(workload.running),
        },
        "running": [_task(task, now) for task in state.running],
        "problems": [
            {"code": problem.code, "detail": problem.detail, "advice": problem.advice}
            for problem in brain.problems.standing()
        ],
        "history": [
            {"at": rfc3339(r.at), "event": r.event, "by": r.by, "detail": r.detail, "drain": r.drain}
            for r in state.history
        ],
        "now": rfc3339(now.wall),
    }


def _drain(drain: Drain, now: Now) -> dict[str, Any]:
    return {
        "id": drain.id,
        "trigger": str(drain.trigger),
        "by": drain.by,
        "reason": drain.reason,
        "requested": rfc3339(drain.requested.as_wall(now)),
        "deadline": None if drain.deadline is None else rfc3339(drain.deadline.as_wall(now)),
        "remaining_seconds": None if drain.deadline is None else round(drain.deadline.seconds_until(now), 3),
        "elapsed_seconds": round(-drain.requested.seconds_until(now), 3),
        "stopped": None if drain.stopped is None else rfc3339(drain.stopped.as_wall(now)),
        "ended": None if drain.ended is None else rfc3339(drain.ended.as_wall(now)),
        "released": None if drain.released is None else rfc3339(drain.released.as_wall(now)),
        "orphans": [_orphan(orphan) for orphan in drain.orphans],
    }


def _task(task: Task, now: Now) -> dict[str, Any]:
    return {
        "id": task.id,
        "name": task.name,
        "started": rfc3339(task.started),
        "elapsed_seconds": None if task.started is None else round(max(0.0, now.wall - task.started), 3),
        "acks_late": task.acks_late,
        "airflow": None if task.airflow is None else asdict(task.airflow),
    }


def _orphan(orphan: Orphan) -> dict[str, Any]:
    return {
        "id": orphan.id,
        "name": orphan.name,
        "started": rfc3339(orphan.started),
        "elapsed_seconds": None if orphan.elapsed is None else round(orphan.elapsed, 3),
        "outcome": str(orphan.outcome),
        "airflow": None if orphan.airflow is None else asdict(orphan.airflow),
    }
