"""The agent's socket: one small thread, so that it answers also when the loop is deaf.

The thread parses and answers; what an operation does, it does in the worker's loop, posted
there by `loop.call`. While the broker is away (the loop waits in a reconnect) or a task of
the solo pool runs (the loop is that task), a stop still closes the gate at once and
``status`` still answers, marked ``"loop": "deaf"``.
"""

import fcntl
import os
import selectors
import socket
import threading
import time
from collections import deque

from .log import describe, log
from .protocol import BadRequest, encode, parse

#: How long an operation may wait for the loop before the thread answers by itself, seconds.
LOOP_WAIT = 1.0
#: The longest request line, in bytes. A connection that sends more is closed.
LINE = 64 * 1024
#: Answers that a client has not read, in bytes. A watcher that falls behind is closed.
BACKLOG = 4 * 1024 * 1024
#: Connections at once.
CLIENTS = 32


class _Client:
    def __init__(self, sock):
        self.sock, self.inbox, self.outbox, self.watching = sock, b"", b"", False


class Server:
    """Serves one `operations.Operations` on a Unix socket until the process ends."""

    def __init__(self, path, operations):
        self._path, self._operations = path, operations
        self._selector = selectors.DefaultSelector()
        self._clients = {}
        self._answers = deque()  # (client, bytes) from the loop's thread
        self._pending = []  # (deadline, client, request, done) waiting for the loop
        self._news = None
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._idle = threading.Event()
        self._lock_file = None
        self._listener = None
        self._pid = os.getpid()

    # -- life ------------------------------------------------------------------------
    def start(self):
        """Bind and serve in a daemon thread.

        Raises OSError when the directory isn't there, isn't writable, or another living
        worker serves it.
        """
        self._lock_file = open(self._path + ".lock", "a")
        # A POSIX lock: ours alone, not the children's; the kernel frees it when we die, so
        # that a free lock proves the death of this process (the sidecar asks for it).
        fcntl.lockf(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._listener = _bind(self._path)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._wake_r, selectors.EVENT_READ, None)
        os.register_at_fork(after_in_child=self._close_in_child)
        thread = threading.Thread(target=self._run, name="drainer-agent", daemon=True)
        thread.start()

    def _close_in_child(self):
        """A pool child must hold neither the listener nor a connection."""
        for sock in [self._listener, self._wake_r, self._wake_w] + [c.sock for c in self._clients.values()]:
            try:
                sock.close()
            except OSError:
                pass

    # -- called from the loop's thread -------------------------------------------------
    @property
    def watched(self):
        return any(client.watching for client in list(self._clients.values()))

    def announce(self, message):
        """Send `message` (a dict) to every watcher; a later one replaces an unsent status."""
        self._news = message
        self.wake()

    def farewell(self, message, timeout=0.3):
        """Send a last message to every watcher and wait until it is out."""
        self._news = message
        self._idle.clear()  # after the news: at worst the wait is in vain, never the message
        self.wake()
        self._idle.wait(timeout)

    def wake(self):
        try:
            self._wake_w.send(b"\0")
        except OSError:
            pass

    # -- the thread --------------------------------------------------------------------
    def _run(self):
        try:
            while True:
                self._turn()
        except Exception as exc:
            log.error("drainer agent: the socket is closed: %s", describe(exc))
            # Unlinked before closed: an absent socket is silence, a refusing one is a
            # proof that the worker is dead, and it isn't.
            try:
                os.unlink(self._path)
            except OSError:
                pass

    def _turn(self):
        for key, mask in self._selector.select(self._timeout()):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wake_r:
                self._drain_wakeups()
            else:
                client = self._clients.get(key.fd)
                if client is not None and mask & selectors.EVENT_READ:
                    self._receive(client)
                if client is not None and mask & selectors.EVENT_WRITE:
                    self._send(client)
        while self._answers:
            self._queue(*self._answers.popleft())
        self._send_news()
        self._answer_for_the_deaf()
        if not any(client.outbox for client in self._clients.values()) and self._news is None:
            self._idle.set()

    def _timeout(self):
        if not self._pending:
            return self._operations.pulse()
        return max(0.0, min(item[0] for item in self._pending) - time.monotonic())

    def _accept(self):
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._clients) >= CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        self._clients[sock.fileno()] = _Client(sock)
        self._selector.register(sock, selectors.EVENT_READ, None)

    def _drain_wakeups(self):
        try:
            self._wake_r.recv(4096)
        except OSError:
            pass

    def _drop(self, client):
        fd = client.sock.fileno()
        if self._clients.pop(fd, None) is not None:
            self._selector.unregister(client.sock)
        client.sock.close()

    def _receive(self, client):
        try:
            data = client.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self._drop(client)
        client.inbox += data
        while b"\n" in client.inbox:
            line, client.inbox = client.inbox.split(b"\n", 1)
            self._handle(client, line)
        if len(client.inbox) > LINE:
            self._drop(client)
        return None

    def _handle(self, client, line):
        try:
            request = parse(line)
        except BadRequest as exc:
            return self._queue(client, encode(exc.answer()))
        if request["do"] == "watch":
            client.watching = True
            request = dict(request, do="status", watch=True)
        operation = self._operations
        answer = operation.at_once(request)
        if answer is not None:
            return self._queue(client, encode(dict(answer, id=request.get("id"))))
        done = []

        def job():
            if done and not operation.still_wanted(request):
                return
            reply = operation.on_loop(request)
            if not done:
                done.append("loop")
                self._answers.append((client, encode(dict(reply, id=request.get("id")))))
                self.wake()

        wait = LOOP_WAIT if operation.listening else 0.0
        self._pending.append((time.monotonic() + wait, client, request, done))
        operation.post(job)
        return None

    def _answer_for_the_deaf(self):
        now, left = time.monotonic(), []
        for item in self._pending:
            deadline, client, request, done = item
            if done:
                continue
            if now < deadline:
                left.append(item)
                continue
            done.append("deaf")
            reply = self._operations.deaf(request)
            self._queue(client, encode(dict(reply, id=request.get("id"))))
        self._pending = left

    def _send_news(self):
        news, self._news = self._news, None
        if news is None:
            return
        data = encode(news)
        for client in list(self._clients.values()):
            if client.watching:
                self._queue(client, data)

    def _queue(self, client, data):
        if client.sock.fileno() not in self._clients:
            return
        client.outbox += data
        self._send(client)

    def _send(self, client):
        if client.sock.fileno() not in self._clients:
            return
        try:
            sent = client.sock.send(client.outbox) if client.outbox else 0
            client.outbox = client.outbox[sent:]
        except BlockingIOError:
            pass
        except OSError:
            return self._drop(client)
        if len(client.outbox) > BACKLOG:
            return self._drop(client)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outbox else 0)
        self._selector.modify(client.sock, events, None)
        return None


def _bind(path):
    """A listening socket at `path`, put there by rename: never half made, mode 0600."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Short: Linux takes at most 107 bytes for the whole path of a socket.
    fresh = os.path.join(os.path.dirname(path), ".a.%d" % os.getpid())
    try:
        os.unlink(fresh)
    except FileNotFoundError:
        pass
    mask = os.umask(0o177)
    try:
        listener.bind(fresh)
    finally:
        os.umask(mask)
    listener.listen(16)
    listener.setblocking(False)
    os.rename(fresh, path)
    return listener
