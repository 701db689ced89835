"""From a parsed request to an answer: which thread serves it, and what `hello` tells."""

import platform

import celery
import kombu

from . import __version__, airflow, end, handback, protocol
from .log import describe, harmless, log

#: How often a worker without a hub is asked to look after its drain, in seconds.
PULSE = 0.2


class Operations:
    """What the server's thread may ask of the agent."""

    def __init__(self, agent):
        self._agent = agent

    # -- for the server's thread ---------------------------------------------------------
    @property
    def listening(self):
        """Whether the loop can be expected to answer soon."""
        return self._agent.connected and self._agent.loop is not None

    def at_once(self, request):
        """An answer that needs nothing of the loop, or None. A stop closes the gate here."""
        if request["do"] == "ping":
            return {"re": "ping"}
        if request["do"] == "stop" and self._agent.ending is None:
            self._agent.close_gate(request["drain"])
        return None

    def post(self, job):
        """Have `job` run in the loop; a worker that has no loop yet drops it.

        What matters of a stop, the closed gate, holds without it, and the ticks of a
        closed gate do the rest once there is a loop.
        """
        if self._agent.loop is not None:
            self._agent.loop.call(self._agent.consumer, job)

    def pulse(self):
        """The thread's longest sleep; without a hub it also drives the drain."""
        agent = self._agent
        if not (agent.gate.closed or agent.returning):
            return None
        if agent.loop is None:
            return PULSE
        if agent.loop.kind != "call_soon":
            return None
        self.post(agent.on_tick)
        return PULSE

    @harmless
    def _snapshot(self):
        return self._agent.status(deaf=True)

    def deaf(self, request):
        """The thread's own answer: the loop didn't take the request in time.

        The request stays posted; see `still_wanted`.
        """
        what = request["do"]
        if what == "terminate" and request["when"] == "now":
            return self._end_without_the_loop(request)
        if what == "resume":
            return _error("resume", "loop-deaf", "the worker's loop doesn't answer; ask again")
        answer = self._snapshot() or {"loop": "deaf", "verified": False}
        return dict(answer, re="watch" if request.get("watch") else what, **(self.hello() if what == "hello" else {}))

    def _end_without_the_loop(self, request):
        """At a deadline nobody waits for a loop: hand back by our own connection, and go."""
        ending = end.Ending(self._agent, "thread", request["code"], request["grace"])
        if handback.broker_kind(self._agent.consumer) == "redis":
            ending.hand_back_rest()
        self._agent.farewell = lambda message: None  # we are the thread that would send it
        ending.leave(request["code"])

    @staticmethod
    def still_wanted(request):
        """Whether a request that was answered for the deaf loop is carried out when it hears again.

        Not a resume: the gate must not open by surprise. Nor the questions of the meantime.
        """
        return request["do"] in ("stop", "terminate")

    # -- in the loop's thread --------------------------------------------------------------
    def on_loop(self, request):
        """Carry out `request`; never raises."""
        what = request["do"]
        try:
            if what == "stop":
                answer = self._agent.stop(request["drain"])
            elif what == "resume":
                answer = self._agent.resume()
            elif what == "terminate":
                answer = self._agent.terminate(request["when"], request["code"], request["grace"])
            elif what == "hello":
                answer = dict(self._agent.status(), **self.hello())
            else:
                answer = self._agent.status()
        except Exception as exc:
            log.error("drainer agent: %s failed: %s", what, describe(exc))
            return _error(what, "failed", "the worker could not: " + describe(exc))
        return dict(answer, re="watch" if request.get("watch") else what)

    def hello(self):
        """Who serves here, what it can do and what it can't."""
        worker, consumer = self._agent.worker, self._agent.consumer
        kind = handback.broker_kind(consumer) if consumer is not None else None
        return {
            "agent": __version__,
            "protocol": protocol.VERSION,
            "celery": celery.__version__,
            "kombu": kombu.__version__,
            "python": platform.python_version(),
            "app": "airflow" if airflow.is_airflow(worker.app) else "celery",
            "pool": _pool_name(worker),
            "concurrency": getattr(worker, "concurrency", None),
            "broker_kind": kind or getattr(worker._conninfo.transport, "driver_type", None),
            "hand_back": kind is not None,
            "limits": _limits(worker, kind, self._agent.connected),
        }


def _pool_name(worker):
    """prefork, thread, gevent, eventlet or solo; None until the pool is there."""
    pool = getattr(worker, "pool", None)
    return None if pool is None else type(pool).__module__.rsplit(".", 1)[-1]


#: What differs from prefork, a sentence each (facts/celery_agent.md 4).
LIMITS = {
    "solo": ["a stop acts when the running task ends; no new task starts meanwhile"],
    "gevent": [
        "a stop acts within 2 s, or when a slot frees while all are full; no new task starts meanwhile",
        "a task that computes without yielding blocks status too",
    ],
    "thread": ["a task can't be killed at its deadline: it ends with the process"],
}
LIMITS["eventlet"] = LIMITS["gevent"]


def _limits(worker, kind, connected):
    limits = list(LIMITS.get(_pool_name(worker), []))
    if kind is None and connected:
        limits.append("hand-back is off: this broker is neither Redis nor RabbitMQ; prefetched tasks run here")
    if getattr(worker, "beat", None) is not None:
        limits.append("the embedded beat stops with consuming and comes back with it")
    return limits


def _error(what, code, detail):
    return {"re": what, "error": {"code": code, "detail": detail}}
