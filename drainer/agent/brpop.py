"""Redis: leave no BRPOP armed behind a stop.

A BRPOP that was sent before the consumers were cancelled still pops a message up to
``brpop_timeout`` (1 s) later. If the process dies before it reads the answer, that message
is in no list and no hash: lost (facts/celery_agent.md 3). So before anything is cancelled,
the blocked connection is woken by CLIENT UNBLOCK and its answer is read. Where the right to
CLIENT is missing, nothing is cancelled until the BRPOP has ended by itself.

The id of a blocked connection can only be asked for before it blocks: `Brpop` asks
once for each connection, right before its first BRPOP.
"""

import select
import weakref
from queue import Empty

from .log import log

#: How long to wait for the answer to an unblocked BRPOP, in seconds.
ANSWER_WAIT = 0.2


class Brpop:
    """Guards the BRPOP of one kombu Redis channel (not of its fanout subscription)."""

    def __init__(self, channel, gate):
        self._channel = weakref.ref(channel)  # a cycle would delay kombu's restore on collect
        self._gate = gate
        self._known_socket = None
        self._client_id = None
        self._start = type(channel)._brpop_start
        channel._brpop_start = self._guarded_start

    def _guarded_start(self, *args, **kwargs):
        channel = self._channel()
        if channel is None or self._gate.closed:
            return None  # the fourth gate: nothing is popped while we don't consume
        connection = channel.client.connection
        sock = getattr(connection, "_sock", None)
        if sock is not self._known_socket:
            self._known_socket, self._client_id = sock, self._ask_id(connection)
        return self._start(channel, *args, **kwargs)

    @staticmethod
    def _ask_id(connection):
        try:
            connection.send_command("CLIENT", "ID")
            return int(connection.read_response())
        except (TypeError, ValueError):
            return None
        except Exception as exc:
            if type(exc).__name__ in ("ResponseError", "NoPermissionError"):
                log.info("drainer agent: no right to CLIENT ID: a stop waits for the BRPOP")
                return None
            raise  # the connection is broken: the worker's own business

    @property
    def armed(self):
        channel = self._channel()
        return bool(channel is not None and getattr(channel, "_in_poll", None))

    def disarm(self):
        """End an armed BRPOP now, if we can; a message it popped is delivered (and caught).

        Returns:
            True when no BRPOP is armed any more. False means: wait for its own end.
        """
        channel = self._channel()
        if channel is None or not getattr(channel, "_in_poll", None):
            return True
        connection = channel.client.connection
        sock = getattr(connection, "_sock", None)
        if sock is None:
            return True
        if self._client_id is not None and sock is self._known_socket:
            try:
                with channel.conn_or_acquire() as client:
                    client.execute_command("CLIENT", "UNBLOCK", self._client_id)
            except Exception as exc:
                log.info("drainer agent: CLIENT UNBLOCK refused: %s", type(exc).__name__)
        if not _readable(sock, ANSWER_WAIT if self._client_id is not None else 0):
            return False
        try:
            channel._brpop_read()
        except Empty:
            pass
        return not channel._in_poll


def _readable(sock, timeout):
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(int(timeout * 1000)))


def of_channel(channel, gate):
    """The guard for `channel`, or None where the transport has no BRPOP."""
    if not hasattr(channel, "_brpop_start") or not hasattr(channel, "_brpop_read"):
        return None
    return Brpop(channel, gate)
