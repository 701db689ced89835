"""Take out of the worker every request that has not started.

Where a request can wait between the broker and a child, on Celery 5.4 to 5.7
(facts/celery.md 2.5, facts/celery_agent.md 4): behind the semaphore of busy slots, in the
pool's outbound buffer, in a token bucket (rate limits), in the timer (ETA), in the queue
of the threads pool. What was written to a child is *committed* and can't be recalled.
"""

from celery.worker import state as worker_state
from celery.worker.request import Request


def take(consumer, look_for_eta=True):
    """Remove and return every request that can be recalled; call it on the worker's loop.

    `look_for_eta` walks the whole timer, dear with 100,000 entries (a cancelled one stays
    in it until its time): once after the consumers were cancelled is enough.
    """
    found = _parked(consumer) + _buffered(consumer) + _in_executor(consumer)
    if look_for_eta:
        found += _rate_limited(consumer) + _scheduled(consumer)
    return found


def scheduled_entries(consumer):
    """Live timer entries that hold a request with an ETA.

    The timer's heap is read directly: the ``queue`` property sorts a copy, which takes
    seconds with 100,000 entries.
    """
    timer = consumer.timer
    heap = getattr(timer, "_queue", None)
    if heap is None or not isinstance(heap, list):
        schedule = getattr(timer, "schedule", None)
        heap = getattr(schedule, "_queue", None) or getattr(timer, "queue", ()) or ()
    found = []
    for item in list(heap):
        entry = getattr(item, "entry", None)
        if entry is None and isinstance(item, tuple):
            entry = item[-1]
        entry = item if entry is None else entry
        args = getattr(entry, "args", None)
        if args and isinstance(args[0], Request) and not _cancelled(entry):
            found.append(entry)
    return found


def _cancelled(entry):
    return getattr(entry, "canceled", False) or getattr(entry, "cancelled", False)


def _parked(consumer):
    semaphore = getattr(consumer.controller, "semaphore", None)
    if semaphore is None:
        return []
    waiting = list(semaphore._waiting)
    semaphore._waiting.clear()
    taken = []
    for item in waiting:
        args = item[1]
        if args and isinstance(args[0], Request):
            taken.append(args[0])
        else:
            semaphore._waiting.append(item)
    return taken


def _buffered(consumer):
    """Jobs of the prefork pool of which not one byte was written to a child."""
    controller, pool = consumer.controller, getattr(consumer.pool, "_pool", None)
    buffer = getattr(pool, "outbound_buffer", None)
    taken = []
    for job in list(buffer or ()):
        request = worker_state.requests.get(job.correlation_id)
        if request is None or job._accepted or job._write_to or request.time_start:
            continue
        buffer.remove(job)
        if getattr(pool, "on_timeout_cancel", None):
            pool.on_timeout_cancel(job)
        job.discard()  # out of the pool's cache: no callback will fire
        semaphore = getattr(controller, "semaphore", None)
        if semaphore is not None and controller.process_task == controller._process_task_sem:
            semaphore.release()  # or the slot is lost for ever
        taken.append(request)
    return taken


def _in_executor(consumer):
    """The threads pool takes every prefetched request into its executor's queue."""
    executor = getattr(consumer.pool, "executor", None)
    queue = getattr(executor, "_work_queue", None)
    if queue is None:
        return []
    taken, others = [], []
    while True:
        try:
            item = queue.get_nowait()
        except Exception:
            break
        request = item and _request_of(item)
        if request is not None and item.future.cancel():
            taken.append(request)
        else:
            others.append(item)  # None is the executor's own wake-up; keep what isn't ours
    for item in others:
        queue.put(item)
    return taken


def _request_of(item):
    """The request behind a work item: it is the one whose ``on_success`` is the callback.

    Python 3.14 keeps (function, args, kwargs) in ``task``, earlier ones in ``args``.
    """
    args = getattr(item, "args", None)
    if args is None:
        args = item.task[1]
    for arg in args:
        owner = getattr(arg, "__self__", None)
        if isinstance(owner, Request):
            return owner
    return None


def _rate_limited(consumer):
    taken = []
    for bucket in list(consumer.task_buckets.values()):
        if bucket:
            taken += [item[0] for item in bucket.contents]
            bucket.clear_pending()
    return taken


def _scheduled(consumer):
    taken = []
    for entry in scheduled_entries(consumer):
        consumer.timer.cancel(entry)
        consumer.qos.decrement_eventually()
        taken.append(entry.args[0])
    return taken
