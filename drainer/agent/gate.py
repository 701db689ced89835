"""The gate: while it is closed, the worker takes no message, whoever asks it to.

Three layers, each measured alone and found wanting (facts/celery_agent.md 1 and 2):

1. a subclass of kombu's Consumer, whose ``_basic_consume`` does nothing while the gate is
   closed; it holds from the first instant of the process and through reconnects;
2. queues are deselected one by one on the worker's loop (``control.Agent.tick``), so that
   ``active_queues`` tells the truth;
3. a wrapper around ``consumer.on_task_request`` that catches what slips through (a
   message that was already on its way), to be handed back.

The gate itself is a flag. Any thread may close it, also while the worker's loop is deaf
because its broker is away.
"""

from .log import log


class Gate:
    """Open or closed, and which queues the worker consumed before it was closed."""

    def __init__(self):
        self.closed = False
        self.why = None
        #: Names of the queues to go back to, in order.
        self.paused = []
        #: Requests that slipped through, for the loop to hand back.
        self.caught = []
        #: Called (in the loop's thread) when something was caught.
        self.on_caught = None

    def close(self, why):
        self.closed, self.why = True, why

    def open(self):
        self.closed, self.why = False, None

    def remember(self, names):
        """Add queue names to go back to, without repeating one."""
        self.paused.extend(name for name in names if name not in self.paused)


def gated_consumer_class(base, gate):
    """A kombu Consumer that doesn't start consuming while `gate` is closed."""

    class GatedConsumer(base):
        def _basic_consume(self, queue, *args, **kwargs):
            if gate.closed:
                log.info("drainer agent: not consuming from %s: %s", queue.name, gate.why)
                return None
            return super()._basic_consume(queue, *args, **kwargs)

    return GatedConsumer


def gated_task_request(original, gate):
    """``on_task_request`` that catches a request while `gate` is closed."""

    def on_task_request(request):
        if not gate.closed:
            return original(request)
        gate.caught.append(request)
        if gate.on_caught is not None:
            gate.on_caught()
        return None

    return on_task_request


def install(app, gate):
    """Put the gated class where the worker makes its task consumer.

    Must run before the Consumer blueprint starts; ``worker_init`` is early enough.
    """
    app.amqp.Consumer = gated_consumer_class(app.amqp.Consumer, gate)


def start_closed(app, gate, why):
    """Close the gate of a process that starts during a drain: it selects no queue at all."""
    gate.close(why)
    queues = app.amqp.queues
    gate.remember(list(queues.consume_from))
    queues._consume_from = {}
