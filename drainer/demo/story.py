"""The story in two rounds: a clean deploy, and one with a task that outlives its deadline."""

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from drainer.demo.ledger import Ledger, Tally
from drainer.demo.show import Show
from drainer.demo.stage import Producer, Worker, embedded_broker, queue_name, wait_until

SLOTS = 4
#: Tasks a second, each 0.15 to 0.55 s long.
RATE = 4.0
LONG = 9.0
DEADLINE = "3s"


def play(broker: str | None, show: Show) -> Tally:
    """Play both rounds and count. broker: a URL, or None for the embedded one."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drainer-demo-")))
        url = broker or stack.enter_context(embedded_broker())
        play = _Play(url, folder, show)
        stack.callback(play.close)
        stack.enter_context(show)
        return play.run()


class _Play:
    def __init__(self, broker: str, folder: Path, show: Show) -> None:
        self._folder, self._show = folder, show
        self._queue = queue_name()
        self._ledger = Ledger(str(folder / "ledger"))
        self._environ = {
            "DRAINER_DEMO_BROKER": broker,
            "DRAINER_DEMO_QUEUE": self._queue,
            "DRAINER_DEMO_LEDGER": str(folder / "ledger"),
        }
        self._producer = Producer(broker, self._queue, RATE)
        self._workers: list[Worker] = []

    def run(self) -> Tally:
        say, producer = self._show.say, self._producer
        say("v1 starts; a producer sends short tasks all the time, and three long ones")
        v1 = self._start("v1")
        self._until(v1.ready, 30, "the start of v1")
        producer.start()
        for _ in range(3):
            producer.send(LONG)
        self._play_for(2.5)

        say("deploy: v2 starts at once, v1 is told to drain")
        v2 = self._start("v2")
        v1.terminate()
        self._until(lambda: v1.exit_code is not None, 60, "the drain of v1")
        say(f"v1 has drained: its long tasks ended, exit code {v1.exit_code}")
        self._until(v2.ready, 30, "the start of v2")

        say(f"second round: a task of 10 minutes on v2, and a deploy with a deadline of {DEADLINE}")
        stubborn = producer.send(600.0, again=1.0)
        self._until(lambda: self._ledger.starts(stubborn) > 0, 30, "the start of the long task")
        v3 = self._start("v3")
        self._until(v3.ready, 30, "the start of v3")
        v2.client().request("POST", "/v1/drain", {"timeout": DEADLINE, "reason": "deploy", "by": "demo"})
        v2.terminate()
        self._until(lambda: v2.exit_code is not None, 60, "the end of v2")
        say(f"v2 was cut off at its deadline, exit code {v2.exit_code}; its task runs again on v3")
        self._until(lambda: self._ledger.starts(stubborn) > 1, 30, "the second run of the long task")

        producer.stop()
        self._until(self._all_done, 30, "the last tasks")
        self._play_for(1.0)  # a task that ran twice would end now
        v3.terminate()
        self._until(lambda: v3.exit_code is not None, 30, "the drain of v3")
        return self._ledger.tally(producer.sent)

    def _start(self, version: str) -> Worker:
        worker = Worker(version, SLOTS, self._folder, self._environ)
        self._workers.append(worker)
        return worker

    def _all_done(self) -> bool:
        tally = self._ledger.tally(self._producer.sent)
        return tally.finished >= tally.sent

    def _refresh(self) -> None:
        tally = self._ledger.tally(self._producer.sent)
        self._show.picture([(worker.version, worker.status(), worker.exit_code) for worker in self._workers], tally)

    def _until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        def look() -> bool:
            self._refresh()
            return condition()

        wait_until(look, timeout, what)

    def _play_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._until(lambda: time.monotonic() >= end, seconds + 5, "a pause")

    def close(self) -> None:
        self._producer._stop.set()
        for worker in self._workers:
            worker.close()
