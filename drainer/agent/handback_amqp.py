"""Hand messages back to RabbitMQ: ``basic.nack`` with requeue, one frame a message.

A quorum queue counts deliveries, and drops a message at its delivery limit (20 by default
in RabbitMQ 4; measured on 3.10: a nack counts like a reject, see docs/decisions/0004). A
message that has come back `SPENT` times is therefore sent anew, confirmed, and only then
acknowledged: drainer uses up at most that many deliveries, however often it hands back.
"""

from amqp import spec

#: Deliveries that handing back may use up, by the queue's own count.
SPENT = 2

_KEPT = ("correlation_id", "reply_to", "delivery_mode", "priority", "expiration", "message_id", "timestamp", "type")


def give_back(channel, requests, consumer, queue_of):
    """Requeue `requests`; the broker puts each back to its place, or sends a copy to the end.

    queue_of: queue names by consumer tag. Raises what the client raises.
    """
    worn = []
    for request in requests:
        message = request.message
        queue = queue_of.get(message.delivery_info.get("consumer_tag"))
        if queue is not None and _count(message) >= SPENT:
            worn.append((message, queue))
            continue
        # py-amqp has no basic_nack for clients; the frame is (tag, multiple, requeue).
        channel.send_method(spec.Basic.Nack, "Lbb", (message.delivery_tag, False, True))
        message._state = "REQUEUED"
    if worn:
        _send_anew(channel, worn, consumer)


def _count(message):
    try:
        return int((message.headers or {}).get("x-delivery-count", 0))
    except (TypeError, ValueError):
        return 0


def _send_anew(channel, worn, consumer):
    """Copies to the same queues, confirmed by the broker one by one, then the acks.

    If the connection dies between the two, that message is in the queue twice.
    """
    connection = consumer.app.connection_for_write()
    connection.transport_options = dict(connection.transport_options or {}, confirm_publish=True)
    with connection:
        copies = connection.channel()
        for message, queue in worn:
            copies.basic_publish(_copy(copies, message), exchange="", routing_key=queue)
            channel.basic_ack(message.delivery_tag)
            message._state = "REQUEUED"


def _copy(channel, message):
    properties = {key: message.properties[key] for key in _KEPT if message.properties.get(key) is not None}
    # The body was decompressed on arrival.
    headers = {key: value for key, value in message.headers.items() if key not in ("x-delivery-count", "compression")}
    priority = properties.pop("priority", None)
    return channel.prepare_message(
        message.body, priority, message.content_type, message.content_encoding, headers, properties
    )
