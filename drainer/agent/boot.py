"""From "imported by a worker" to "serving on agent.sock"."""

import os

from celery import bootsteps, signals

from . import control, gate, operations, server, statefile
from .log import describe, log
from .loop import CallSoonLoop, HubLoop


def register():
    """Called at import: wait for the worker to be there. Harmless in any other process."""
    signals.worker_init.connect(_on_worker_init, weak=False, dispatch_uid="drainer-agent")


def _on_worker_init(sender=None, **_):
    try:
        _install(sender)
    except Exception as exc:
        log.error("drainer agent: off, the worker goes on without it: %s", describe(exc))


def _install(worker):
    directory = statefile.directory()
    if not os.path.isdir(directory):
        log.info("drainer agent: off: there is no directory %s", directory)
        return
    agent = control.Agent(worker)
    gate.install(worker.app, agent.gate)
    # The lock first, state.json after: a sidecar that writes "draining" once we have read
    # finds the lock taken, and doesn't take this process for dead.
    _serve(agent, os.path.join(directory, "agent.sock"))
    why = statefile.must_not_consume(os.path.join(directory, "state.json"))
    if why is not None:
        gate.start_closed(worker.app, agent.gate, why)
        log.warning("drainer agent: this worker takes no message: %s", why)
    worker.app.steps["consumer"].add(_step(agent))


def _step(agent):
    """A bootstep of the consumer, for this agent: started at every (re)connect."""

    class DrainerAgent(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def __init__(self, consumer, **kwargs):
            super().__init__(consumer, **kwargs)
            # Before Tasks captures it in its strategies.
            consumer.on_task_request = gate.gated_task_request(consumer.on_task_request, agent.gate)
            agent.loop = HubLoop() if consumer.hub is not None else CallSoonLoop()
            for sock in agent.loop.fds():
                os.register_at_fork(after_in_child=sock.close)

        def start(self, consumer):
            agent.on_connected(consumer)

        def register_with_event_loop(self, consumer, hub):
            agent.loop.attach(hub, agent.on_tick)

        def stop(self, consumer):
            """The connection is lost or the worker ends; the socket stays."""

    return DrainerAgent


def _serve(agent, path):
    serving = server.Server(path, operations.Operations(agent))

    def notify():
        if serving.watched:
            serving.announce(dict(agent.status(), event="status"))

    try:
        serving.start()
    except OSError as exc:
        log.warning("drainer agent: no socket at %s (%s): the worker goes on without it", path, exc.strerror)
        return
    agent.notify, agent.farewell = notify, serving.farewell
    log.info("drainer agent: serving on %s", path)
