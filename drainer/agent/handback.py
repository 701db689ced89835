"""Hand back: give messages that have not started to the broker, in chunks."""

from celery.worker import state as worker_state

from . import handback_amqp, handback_redis

#: Messages for one turn of the worker's loop: 100,000 ETA messages must not block it.
CHUNK = 250


def broker_kind(consumer):
    """``redis``, ``amqp`` or None: which way of handing back the worker's broker allows."""
    connection = consumer.connection
    if connection is None:
        return None
    driver = getattr(connection.transport, "driver_type", None)
    return driver if driver in ("redis", "amqp") else None


class Returning:
    """Requests on their way back to the broker, oldest first."""

    def __init__(self):
        self._requests = []
        #: Names of the queues that were consumed, by consumer tag.
        self.queue_of = {}
        #: How many messages this process has handed back so far.
        self.total = 0

    def __len__(self):
        return len(self._requests)

    def add(self, requests, channel):
        """Take over requests that were removed from the worker.

        Those that didn't come over `channel`, the one of now, are forgotten: their
        connection is gone, and the broker has taken them back.
        """
        held = []
        for request in requests:
            if request.message.channel is not channel:
                worker_state.task_ready(request)
            elif not request.acknowledged:
                held.append(request)
        if not held:
            return
        order = _delivery_order(channel)
        self._requests += held
        self._requests.sort(key=lambda request: order(request.message.delivery_tag))

    def forget(self):
        """The connection is gone, and with it our hold on the messages: the broker's turn."""
        self._requests.clear()

    def give_chunk(self, consumer):
        """Hand back the newest chunk (newest first keeps the queue's order on Redis).

        Raises what the broker's client raises; then the chunk stays to be tried again.
        """
        chunk = self._requests[-CHUNK:]
        if not chunk:
            return
        channel = chunk[0].message.channel  # of all: only what came over one connection is added
        if broker_kind(consumer) == "redis":
            handback_redis.give_back(channel, chunk)
        else:
            handback_amqp.give_back(channel, chunk, consumer, self.queue_of)
        for request in chunk:
            request.acknowledged = True  # nobody may acknowledge or reject it again
            worker_state.task_ready(request)
        del self._requests[-len(chunk) :]
        self.total += len(chunk)


def _delivery_order(channel):
    """A sort key for delivery tags: AMQP counts, Redis remembers the order it delivered in."""
    delivered = getattr(getattr(channel, "qos", None), "_delivered", None)
    if delivered is None:
        return lambda tag: tag
    position = {tag: index for index, tag in enumerate(delivered)}
    return lambda tag: position.get(tag, len(position))
