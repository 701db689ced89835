"""Run something in the thread of the worker's event loop, from any other thread.

Two kinds of worker: with a hub (prefork, threads, solo), woken through a socket pair that
the hub reads; without one (gevent, eventlet), through ``consumer.call_soon``, which the
loop looks at when its current wait ends (up to 2 s: facts/celery.md 1.2).
"""

import socket
from collections import deque

from .log import harmless


class HubLoop:
    """The loop of a worker with a kombu hub."""

    kind = "hub"

    def __init__(self):
        self._jobs = deque()
        self._hub = None
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fds(self):
        return [self._reader, self._writer]

    def attach(self, hub, on_tick):
        """Called at every (re)connect: ``hub.reset`` has forgotten our reader."""
        self._hub = hub
        hub.add_reader(self._reader, self._on_wake)
        hub.on_tick.add(on_tick)

    def call(self, consumer, job):
        """Run `job` soon; `consumer` isn't needed here. Safe from any thread."""
        self._jobs.append(job)
        try:
            self._writer.send(b"\0")
        except OSError:
            pass  # full: a wake-up is pending already

    @harmless
    def _on_wake(self):
        """A reader among others in one batch of events: the jobs run after the batch.

        A job may read what a later event of the same batch announces (an answer to a
        BRPOP); that event's own reader would then block on an empty socket, for ever.
        """
        try:
            self._reader.recv(4096)
        except OSError:
            pass
        self._hub.call_soon(self._run_jobs)

    @harmless
    def _run_jobs(self):
        while self._jobs:
            harmless(self._jobs.popleft())()


class CallSoonLoop:
    """The loop of a worker without a hub."""

    kind = "call_soon"

    def fds(self):
        return []

    def attach(self, hub, on_tick):
        return None

    def call(self, consumer, job):
        if consumer is not None:
            consumer.call_soon(harmless(job))
