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

    def add(self, requests):
        """Take over requests that were removed from the worker."""
        held = [request for request in requests if not request.acknowledged]
        if not held:
            return
        order = _delivery_order(held[0].message.channel)
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
        for channel, group in _by_channel(chunk):
            if broker_kind(consumer) == "redis":
                handback_redis.give_back(channel, group)
            else:
                handback_amqp.give_back(channel, group, consumer, self.queue_of)
            for request in group:
                request.acknowledged = True  # nobody may acknowledge or reject it again
                worker_state.task_ready(request)
        del self._requests[-len(chunk) :]
        self.total += len(chunk)


def _by_channel(requests):
    groups = {}
    for request in requests:
        channel = request.message.channel
        groups.setdefault(id(channel), (channel, []))[1].append(request)
    return list(groups.values())


def _delivery_order(channel):
    """A sort key for delivery tags: AMQP counts, Redis remembers the order it delivered in."""
    delivered = getattr(getattr(channel, "qos", None), "_delivered", None)
    if delivered is None:
        return lambda tag: tag
    position = {tag: index for index, tag in enumerate(delivered)}
    return lambda tag: position.get(tag, len(position))
