"""Hand messages back to RabbitMQ: ``basic.nack`` with requeue, one frame a message.

On a quorum queue a ``basic.reject`` counts towards the delivery limit; see
docs/decisions/0004 for what the server that we test with counts.
"""

from amqp import spec


def give_back(channel, requests):
    """Requeue `requests`; the broker puts each back to its place in the queue."""
    for request in requests:
        message = request.message
        # py-amqp has no basic_nack for clients; the frame is (tag, multiple, requeue).
        channel.send_method(spec.Basic.Nack, "Lbb", (message.delivery_tag, False, True))
        message._state = "REQUEUED"
