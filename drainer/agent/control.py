"""The agent's operations. All but `close_gate` run in the thread of the worker's loop."""

import os
import time

from celery.worker import state as worker_state

from . import beat, brpop, end, handback, snapshot, unstarted
from .gate import Gate
from .log import describe, harmless, log


class Agent:
    """One worker process: its gate, what it hands back, and how it ends."""

    def __init__(self, worker):
        self.worker = worker
        self.gate = Gate()
        self.gate.on_caught = self._wake
        self.returning = handback.Returning()
        self.loop = None  # set by boot, when the kind of loop is known
        self.drain = None  # id of the drain that closed the gate
        self.ending = None  # an `end.Ending` once the worker is to end
        self.notify = lambda: None  # set by boot: tell the watchers
        self.farewell = lambda message: None  # set by boot: the last word to them
        self._brpop = None
        self._beat_stopped = False
        self._told = None
        self._look_for_eta = False
        self._retry_at = 0.0

    # -- the consumer's life ---------------------------------------------------------
    @property
    def consumer(self):
        return getattr(self.worker, "consumer", None)

    @property
    def connected(self):
        """Whether the worker has its broker.

        While it reconnects, the consumer's connection is None (Celery 5.7) or one that is
        not connected (5.4).
        """
        consumer = self.consumer
        return bool(
            consumer is not None
            and consumer.connection is not None
            and consumer.connection.connected
            and consumer.task_consumer is not None
            and consumer.task_consumer.channel is not None
        )

    @harmless
    def on_connected(self, consumer):
        """A (re)connect: tasks held over the old connection are the broker's again."""
        self.returning.forget()
        del self.gate.caught[:]
        self._look_for_eta = True
        self._brpop = brpop.of_channel(consumer.task_consumer.channel, self.gate)
        self._tell()

    # -- operations ------------------------------------------------------------------
    def close_gate(self, drain):
        """The part of `stop` that needs no loop: nothing new is consumed from here on."""
        if not self.gate.closed:
            # Selected, and consumed: on Celery 5.4 an `add_consumer` doesn't select.
            self.gate.remember(list(self.worker.app.amqp.queues.consume_from))
            self.gate.remember(self._consuming())
        self.drain = drain
        self.gate.close("drain %s" % (drain,))

    def stop(self, drain):
        """Stop consuming and begin to hand back. Idempotent; finished by `tick`."""
        self.close_gate(drain)
        if not self._beat_stopped:
            self._beat_stopped = bool(harmless(beat.stop)(self.worker))
        self.tick()
        return self.status()

    def resume(self):
        """Open the gate and consume from exactly the queues of before the stop."""
        if self.ending is not None:
            raise RuntimeError("the worker is ending")
        if not self.gate.closed:
            return self.status()
        if self.connected:
            self._take_back()
        names, self.gate.paused = list(self.gate.paused), []
        self.gate.open()
        self.drain = None
        self._consume_from(names)
        if self._beat_stopped:
            harmless(beat.start)(self.worker)
            self._beat_stopped = False
        self._tell()
        return self.status()

    def _consume_from(self, names):
        queues = self.worker.app.amqp.queues
        for name in [name for name in queues.consume_from if name not in names]:
            queues.deselect(name)  # added by somebody else while the gate was closed
        for name in names:
            queues.select_add(queues[name])  # a reconnect consumes from what is selected
        if not self.connected:
            return
        task_consumer = self.consumer.task_consumer
        for name in [queue.name for queue in task_consumer.queues if queue.name not in names]:
            self.consumer.cancel_task_queue(name)
        for name in names:
            self.consumer.add_task_queue(name)

    def terminate(self, when, code, grace):
        """Begin to end the process; see `end.Ending`. The answer leaves before it dies."""
        self.close_gate(self.drain)
        self.ending = end.Ending(self, when, code, grace)
        self.tick()
        return self.status()

    # -- one turn of the loop ----------------------------------------------------------
    @harmless
    def on_tick(self):
        """Run by the hub each turn, after the acks of finished tasks; cheap while serving."""
        if not self.gate.closed and not self.returning:
            return
        self.tick()
        if self.ending is not None:
            self.ending.tick()

    @harmless
    def tick(self):
        """Take back, hand back, tell: until nothing is left that has not started."""
        if self.connected:
            if self.gate.closed:
                self._take_back()
            if self.returning:
                self._hand_back()
        self._tell()

    def _take_back(self):
        consumer = self.consumer
        names = [queue.name for queue in consumer.task_consumer.queues]
        if names or consumer.task_consumer._active_tags:
            if self._brpop is not None and not self._brpop.disarm():
                return  # no right to CLIENT: the BRPOP ends by itself within brpop_timeout
            tags = consumer.task_consumer._active_tags
            self.returning.queue_of.update({tag: name for name, tag in tags.items()})
            for name in names:
                consumer.cancel_task_queue(name)
            self._look_for_eta = True
        if not (self._look_for_eta or self.gate.caught or worker_state.reserved_requests):
            return
        caught, self.gate.caught[:] = list(self.gate.caught), []
        found = caught + unstarted.take(consumer, self._look_for_eta)
        self._look_for_eta = False
        self.returning.add(found, consumer.task_consumer.channel)

    def _hand_back(self):
        if time.monotonic() < self._retry_at:
            return
        try:
            self.returning.give_chunk(self.consumer)
        except Exception as exc:
            # The messages stay ours; a lost connection gives them back by itself.
            log.warning("drainer agent: handing back failed, again in 1 s: %s", describe(exc))
            self._retry_at = time.monotonic() + 1.0
            if self.consumer.hub is not None:
                self.consumer.hub.call_later(1.0, self._wake)
            return
        if self.returning:
            self._wake()

    def _wake(self):
        if self.loop is not None:
            self.loop.call(self.consumer, self.tick)

    def _tell(self):
        now = snapshot.counts() + (len(self.returning), self.verified, self.connected, self.gate.closed)
        if now != self._told:
            self._told = now
            self.notify()

    @property
    def empty(self):
        """Nothing runs, nothing will start, nothing is on its way back."""
        return not (
            worker_state.active_requests or worker_state.reserved_requests or self.returning or self.gate.caught
        )

    def _consuming(self):
        """Names of the queues that the broker sends from."""
        return list(self.consumer.task_consumer._active_tags) if self.connected else []

    # -- answers -------------------------------------------------------------------------
    @property
    def verified(self):
        """Not consuming, as seen in the worker itself: no consumer, no BRPOP, nothing caught."""
        if not self.gate.closed:
            return False
        if not self.connected:
            return True  # no connection, and the gate will hold when there is one
        task_consumer = self.consumer.task_consumer
        return not (
            task_consumer._active_tags
            or task_consumer.queues
            or self.gate.caught
            or (self._brpop is not None and self._brpop.armed)
        )

    def status(self, deaf=False):
        """Everything an operator may see of this process, as JSON values."""
        consumer = self.consumer
        running = snapshot.running()
        returning = list(self.returning._requests) + list(self.gate.caught)
        reserved = snapshot.reserved(returning)
        return {
            "pid": os.getpid(),
            "hostname": getattr(self.worker, "hostname", None),
            "gate": "closed" if self.gate.closed else "open",
            "why": self.gate.why,
            "drain": self.drain,
            "verified": self.verified and not deaf,
            "loop": "deaf" if deaf else "ok",
            "broker": "connected" if self.connected else "away",
            "consuming": sorted(self._consuming()),
            "paused": list(self.gate.paused),
            "running": running,
            "reserved": reserved,
            "scheduled": snapshot.scheduled(consumer),
            "returning": len(returning),
            "returned": self.returning.total,
            "ending": self.ending is not None,
        }
