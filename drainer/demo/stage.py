"""What the demo is played on: a broker, workers under `drainer run`, a producer."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drainer.client.http import Client
from drainer.client.target import runs_directory
from drainer.errors import DrainerError, Unreachable


@contextlib.contextmanager
def embedded_broker() -> Iterator[str]:
    """The URL of a broker that lives as long as the context."""
    process = subprocess.Popen(
        [sys.executable, "-m", "drainer.demo.broker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise DrainerError("the embedded broker did not start", "give a real one: --broker redis://HOST:6379/0")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.stdin.close()
        process.wait(10)


class Worker:
    """One version of the code: a Celery worker under `drainer run`."""

    def __init__(self, version: str, slots: int, folder: Path, environ: dict[str, str]) -> None:
        self.version, self.slots = version, slots
        self._name = f"demo-{version}-{os.getpid()}"
        self.log = folder / f"{version}.log"
        command = [sys.executable, "-m", "drainer", "run", "--name", self._name, "--log-format", "json", "--"]
        celery = ["celery", "-A", "drainer.demo.tasks", "worker", "-c", str(slots), "-l", "error"]
        quiet = ["--without-mingle", "--without-gossip", "-n", f"{version}@demo-{os.getpid()}"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, sys.executable, "-m", *celery, *quiet],
                env={**os.environ, **environ, "DRAINER_DEMO_VERSION": version},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._last: dict[str, Any] | None = None

    def client(self) -> Client:
        return Client(str(runs_directory() / self._name / "sidecar.sock"))

    def status(self) -> dict[str, Any] | None:
        """The newest status; the last one known when the run is over, None before its start."""
        with contextlib.suppress(Unreachable):
            self._last = self.client().status()
        return self._last

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def ready(self) -> bool:
        status = self.status()
        return bool(status and status["work"] and status["work"]["consuming"])

    def terminate(self) -> None:
        """What a deploy does: SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()


class Producer:
    """A stream of short and long tasks that doesn't stop for any deploy."""

    def __init__(self, broker: str, queue: str, rate: float) -> None:
        os.environ["DRAINER_DEMO_BROKER"], os.environ["DRAINER_DEMO_QUEUE"] = broker, queue
        from drainer.demo.tasks import work

        self._work, self._queue, self._rate = work, queue, rate
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._stream, daemon=True)

    def send(self, seconds: float, again: float | None = None) -> int:
        with self._lock:
            number = self.sent
            self._work.apply_async((number, seconds, again), queue=self._queue)
            self.sent += 1
            return number

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _stream(self) -> None:
        while not self._stop.wait(1.0 / self._rate):
            self.send(0.15 + (self.sent % 5) * 0.1)


def queue_name() -> str:
    """A queue of this demo's own: on a real broker it takes nobody else's messages."""
    return f"drainer-demo-{uuid.uuid4().hex[:8]}"


def wait_until(condition: Any, timeout: float, what: str) -> None:
    """Wait for `condition()`; DrainerError with `what` when it takes longer than `timeout` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise DrainerError(f"{what} took longer than {timeout:g} s")
        time.sleep(0.05)
