"""How a worker process ends: at once when it is empty, by force at a deadline.

Celery's own ways are too slow or lose messages (facts/celery_agent.md 9): a warm shutdown
of an empty worker takes 1.4 to 3.3 s, and ``should_terminate`` lets the loop acknowledge
late-acked tasks that were killed. So an empty worker leaves by ``os._exit``; and at a
deadline the children are killed, their last results read, late-acked messages handed back
and the process left, all in one callback, before the loop can acknowledge anything.

``os._exit`` skips Celery's worker_shutdown signals and atexit handlers (documented). The
pid file and the state db are taken care of here.
"""

import logging
import os
import select
import signal
import sys
import time

from celery.worker import state as worker_state

from . import airflow, proc, snapshot, unstarted
from .log import describe, harmless, log

#: How long an Airflow worker may take, after the kill, until the acks are out, in seconds.
AIRFLOW_BOUND = 15.0
#: How long killed children may take to be gone, in seconds.
REAP = 5.0


class Ending:
    """The end of one worker process.

    when: "empty" ends it with code 0 as soon as nothing runs; "now" kills what runs and
    ends it with `code`. On Airflow, "now" terminates the task processes, waits `grace`
    seconds, kills them with all their descendants, and waits for the acks.
    """

    def __init__(self, agent, when, code, grace):
        self.agent, self.when, self.code = agent, when, code
        self._orphans = []
        self._airflow = None
        if when == "now" and airflow.is_airflow(agent.worker.app) and _children(agent.worker):
            self._airflow = AirflowKill(agent, grace)

    def tick(self):
        """One turn of the loop, after the acks; doesn't return when it is time to go."""
        if self.when == "empty":
            if self.agent.verified and self.agent.empty:
                self.leave(0)
        elif self._airflow is not None:
            if self._airflow.over():
                self._orphans = self._airflow.orphans
                self.leave(self.code)
        elif self.agent.connected and not self.agent.verified:
            return  # an armed BRPOP would lose a message: it ends within brpop_timeout
        else:
            self.kill_all()

    def kill_all(self):
        """Plain Celery at the deadline, in one callback; doesn't return."""
        worker = self.agent.worker
        pids = _children(worker)
        trees = [pid for child in pids for pid in proc.descendants(child)]
        proc.kill_and_reap(pids + trees, REAP)
        harmless(_read_last_results)(worker)
        self.hand_back_rest()
        self.leave(self.code)

    @harmless
    def hand_back_rest(self):
        """Late-acked running messages and all that had not started; list what is lost."""
        agent, consumer = self.agent, self.agent.consumer
        running = list(worker_state.active_requests)
        kept = [request for request in running if snapshot.acks_late(request)]
        if agent.connected:
            found = kept + agent.gate.caught + unstarted.take(consumer)
            agent.returning.add(found, consumer.task_consumer.channel)
            try:
                while agent.returning:
                    agent.returning.give_chunk(consumer)
            except Exception as exc:
                log.error("drainer agent: the last hand back failed: %s", describe(exc))
        for request in running:
            back = request.message._state == "REQUEUED"
            outcome = "lost" if request not in kept else "handed-back" if back else "with-broker"
            self._orphans.append({"id": request.id, "name": request.name, "outcome": outcome})

    def leave(self, code):
        """Tell the sidecar what became of the orphans, and be gone."""
        agent = self.agent
        harmless(agent.farewell)({"event": "ended", "exit": code, "orphans": self._orphans})
        worker = agent.worker
        if getattr(worker, "pidlock", None):
            harmless(worker.pidlock.release)()
        if getattr(worker, "_persistence", None):
            harmless(worker._persistence.save)()
        log.info("drainer agent: the worker ends with %d", code)
        for pid in _children(worker):
            proc.send(pid, signal.SIGKILL)
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            harmless(stream.flush)()
        os._exit(code)


class AirflowKill:
    """Airflow's task processes, ended so that Airflow knows at once (facts/airflow_kill.md).

    The pool child (Airflow's supervisor) must live: it reports the death of its task. The
    task process dies with *every* descendant: a living one holds the report up for 60 s.
    """

    def __init__(self, agent, grace):
        self._agent = agent
        self._kill_at = time.monotonic() + grace
        self._end_at = self._kill_at + AIRFLOW_BOUND
        self._killed = False
        self.orphans = [
            {"id": item["id"], "name": item["name"], "outcome": "airflow-retries"} for item in snapshot.running()
        ]
        for task in self._tasks():
            proc.send(task, signal.SIGTERM)
        hub = agent.consumer.hub
        for delay in (grace + 0.01, grace + AIRFLOW_BOUND + 0.01):
            hub.call_later(delay, agent._wake)

    def _tasks(self):
        """The task process of each running request: the only child of its pool child."""
        supervisors = [req.worker_pid for req in list(worker_state.active_requests) if req.worker_pid]
        return [task for supervisor in supervisors for task in proc.children(supervisor)]

    def over(self):
        """Whether the worker may exit; kills when the grace has passed."""
        now = time.monotonic()
        if not worker_state.active_requests and not worker_state.reserved_requests:
            return True
        if now >= self._kill_at and not self._killed:
            self._killed = True
            for task in self._tasks():
                tree = proc.descendants(task)
                for pid in [task] + tree:
                    proc.send(pid, signal.SIGKILL)
        return now >= self._end_at


def _children(worker):
    """Pids of the prefork pool's children; empty for the other pools."""
    pool = getattr(getattr(worker, "pool", None), "_pool", None)
    processes = getattr(pool, "_pool", None)
    if not isinstance(processes, list):
        return []
    return [process.pid for process in processes if getattr(process, "pid", None)]


def _read_last_results(worker):
    """Read what dead children had written, so that a finished task is acknowledged.

    Results are read by a callback, or by a generator when a message came in pieces; both
    are what the hub has registered for the pipe. Then the acks, which wait in the hub.
    """
    pool, hub = worker.pool._pool, worker.hub
    if pool is None or hub is None or not hasattr(pool, "_fileno_to_outq"):
        return
    for fd in list(pool._fileno_to_outq):
        for _ in range(1000):
            registered = hub.readers.get(fd)
            if registered is None or not _has_data(fd):
                break
            callback, args = registered
            try:
                next(callback) if hasattr(callback, "send") else callback(*args)
            except (StopIteration, OSError, EOFError):
                continue
    for _ in range(3):  # an ack may schedule another callback
        todo = hub._pop_ready() if hasattr(hub, "_pop_ready") else _swap_ready(hub)
        for item in todo:
            if item:
                _run(item)


def _swap_ready(hub):
    todo, hub._ready = hub._ready, set()
    return todo


@harmless
def _run(item):
    item()


def _has_data(fd):
    try:
        return bool(select.select([fd], [], [], 0)[0])
    except (OSError, ValueError):
        return False
