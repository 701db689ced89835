"""What the worker is doing, as plain values; never a task's arguments."""

from celery.worker import state as worker_state

from . import airflow
from .unstarted import scheduled_entries

#: At most this many requests are listed one by one; the counts are always complete.
LISTED = 1000

_identities = {}


def counts():
    """(running, reserved): started, and waiting to start."""
    running = len(worker_state.active_requests)
    return running, max(0, len(worker_state.reserved_requests) - running)


def running():
    """The running requests as dicts, the oldest first."""
    requests = sorted(_copy(worker_state.active_requests), key=lambda req: req.time_start or 0)
    live = {request.id for request in requests}
    for gone in [key for key in _identities if key not in live]:
        _identities.pop(gone, None)
    return [_describe(request) for request in requests[:LISTED]]


def reserved(returning):
    """Requests that will start here: held, not running, not on their way back.

    Once the worker has stopped these are the *committed* ones, already on their way to a
    child (facts/celery.md 2.5).
    """
    active = set(_copy(worker_state.active_requests))
    back = {id(request) for request in returning}
    waiting = [r for r in _copy(worker_state.reserved_requests) if r not in active and id(r) not in back]
    return [{"id": request.id, "name": request.name} for request in waiting[:LISTED]]


def scheduled(consumer):
    """How many messages with an ETA the worker holds."""
    known = getattr(worker_state, "scheduled_requests", None)  # Celery 5.7 counts them itself
    if known is not None:
        return len(known)
    return len(scheduled_entries(consumer)) if consumer is not None else 0


def acks_late(request):
    """Whether the broker still holds the message of a running request."""
    return bool(request.task.acks_late) and not request.acknowledged


def _describe(request):
    item = {
        "id": request.id,
        "name": request.name,
        "started": request.time_start,
        "pid": request.worker_pid if isinstance(request.worker_pid, int) else None,
        "acks_late": acks_late(request),
    }
    if request.id not in _identities:
        _identities[request.id] = airflow.identity(request)  # parsed once: it may be large
    if _identities[request.id] is not None:
        item["airflow"] = _identities[request.id]
    return item


def _copy(weak_set):
    """A list of a WeakSet that another thread may be changing."""
    for _ in range(100):
        try:
            return list(weak_set)
        except RuntimeError:
            continue
    return []
