"""A campaign: one worker after another is drained under load, in every way that may go wrong.

Everything is counted from the outside: the producer's numbers against the tasks' own ledger.
A number may run twice or not at all only for a reason that is known beforehand:

- cut off at a deadline: it is listed as an orphan; late-acked ones run again, early-acked
  ones are lost;
- a restart of the broker while it ran (late-acked) or while its ack was on the way: what an
  outage redelivers to a plain worker it redelivers to ours;
- a worker that Celery itself loses to such a restart: kombu 5.7 on Redis dies of an
  AttributeError when it can't restore what it holds (docs/decisions/0005). It is started
  again, as a kubelet would.
"""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from drainer.errors import Refused, Unreachable
from tests.support.servers import RedisServer
from tests.support.waiting import eventually
from tests.support.worker import Setting, SidecarProcess, Worker

#: How long before and after a broker's restart an ack may have been on the way, seconds.
BLUR = 2.0


class Producer:
    """Never stops sending: short tasks, a few longer ones, some with an ETA."""

    def __init__(self, setting: Setting, rng: random.Random, rate: float) -> None:
        self._setting, self._rng, self._rate = setting, rng, rate
        self.connect()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self.sent = 0
        self.failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, seconds: float, again: float | None = None, **options: Any) -> int:
        with self._lock:
            number = self.sent
            self._app.send_task("work", [number, seconds, again], queue=self._setting.queue, **options)
            self.sent += 1
            return number

    def paused(self) -> threading.Lock:
        """Hold this while the broker is away: what was sent must be known for certain."""
        return self._lock

    def connect(self) -> None:
        """With fresh connections: those of before an outage are broken."""
        from celery import Celery

        self._app = Celery("producer", broker=self._setting.broker, set_as_current=False)
        self._app.conf.update(self._setting.conf or {}, task_default_queue=self._setting.queue)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self.failed, self.failed

    def _run(self) -> None:
        try:
            while not self._stop.wait(1.0 / self._rate):
                dice = self._rng.random()
                if dice < 0.1:
                    self.send(0.05, countdown=self._rng.uniform(0.5, 3.0))
                else:
                    self.send(self._rng.uniform(0, 0.2) if dice < 0.85 else self._rng.uniform(0.5, 1.5))
        except BaseException as exc:
            self.failed.append(exc)


@dataclass
class Campaign:
    """How one campaign is played, and what it found."""

    setting: Setting
    server: Any
    rng: random.Random
    concurrency: int
    drains: int
    late: bool
    link: str = "agent"
    rate: float = 15.0
    orphans: dict[str, str] = field(default_factory=dict)
    expired_at: dict[str, float] = field(default_factory=dict)
    outages: list[tuple[float, float]] = field(default_factory=list)
    casualties: set[str] = field(default_factory=set)
    done: dict[str, int] = field(default_factory=dict)
    taken_after_release: list[str] = field(default_factory=list)

    def play(self) -> str:
        stay = self._stay = self.setting.worker("stay", concurrency=4)
        producer = Producer(self.setting, self.rng, self.rate)
        number = 0
        worker, sidecar = self._pair(number)
        try:
            for drain in range(self.drains):
                time.sleep(self.rng.uniform(0.1, 0.8))  # a random moment
                if self._one(drain, producer, worker, sidecar):
                    worker.close()
                    sidecar.close()
                    number += 1
                    if drain < self.drains - 1:
                        worker, sidecar = self._pair(number)
        finally:
            producer.stop()
        self._settle(producer.sent)
        assert stay.alive()
        return self._judge(producer.sent)

    def _pair(self, number: int) -> tuple[Worker, SidecarProcess]:
        worker = self.setting.worker(f"w{number}", concurrency=self.concurrency, agent=self.link == "agent")
        more = {"DRAINER_BROKER_URL": self.setting.broker, "DRAINER_WORKER": worker.node}
        sidecar = self.setting.sidecar(worker.directory, "--link", self.link, environ=more)
        sidecar.until(lambda s: s["work"] and s["work"]["consuming"], 40)
        return worker, sidecar

    # -- one drain ---------------------------------------------------------------------------
    def _one(self, drain: int, producer: Producer, worker: Worker, sidecar: SidecarProcess) -> bool:
        """True when the worker is used up."""
        expire = drain % 8 == 5 and self.link == "agent"
        cancel = not expire and drain % 2 == 0
        if expire:
            return self._expire(producer, worker, sidecar)
        sidecar.drain(timeout="10m")
        for fault in self._faults(drain):
            self._count(fault.__name__.strip("_"))
            fault(producer, worker, sidecar)
        if cancel:
            outcome = self._cancel(worker, sidecar)
            if outcome != "verdict":
                return outcome == "lost"
        if self.link == "pidbox":
            self._mind_a_lost_worker(worker, sidecar)
        status = sidecar.until(lambda s: s["released"], 90, "drained")
        assert status["phase"] == "drained", status
        if worker.process.poll() is not None and self.outages:
            self._lost_to_the_outage(worker)
        elif not self.casualties:
            assert status["drain"]["orphans"] == [], status
        self._count("drained")
        self._released(worker, sidecar)
        return True

    def _mind_a_lost_worker(self, worker: Worker, sidecar: SidecarProcess) -> None:
        """To the broker link a lost worker is silent, never idle; started again, it must be stopped again."""

        def over() -> bool:
            status = sidecar.status()
            return worker.process.poll() is not None or bool(status and status["released"])

        eventually(over, 90, "released, or the worker lost")
        if worker.process.poll() is not None:
            self._lost_to_the_outage(worker)
            worker.start()

    def _faults(self, drain: int) -> list[Callable[[Producer, Worker, SidecarProcess], None]]:
        found: list[Callable[[Producer, Worker, SidecarProcess], None]] = []
        if drain % 4 == 3 or (drain % 4 == 0 and self.rng.random() < 0.3):
            found.append(self._sidecar_killed)
        if drain % 5 == 1 and isinstance(self.server, RedisServer):
            found.append(self._broker_restarted)
        if drain % 5 == 2:
            found.append(self._worker_stopped)
        return found

    def _sidecar_killed(self, producer: Producer, worker: Worker, sidecar: SidecarProcess) -> None:
        time.sleep(self.rng.uniform(0, 0.05))
        sidecar.restart()

    def _broker_restarted(self, producer: Producer, worker: Worker, sidecar: SidecarProcess) -> None:
        with producer.paused():
            start = time.time()
            self.server.restart()
            producer.connect()
            self.outages.append((start, time.time()))
        eventually(lambda: self._back(self._stay, len(self.outages)), 30, "the worker that stays is back")

    def _back(self, worker: Worker, times: int) -> bool:
        """Whether it has reconnected; started again when Celery has lost it."""
        if worker.process.poll() is not None:
            self._lost_to_the_outage(worker)
            worker.start()
        return worker.text().count("Connected to") > times

    def _lost_to_the_outage(self, worker: Worker) -> None:
        assert "has no attribute 'hostname'" in worker.text(), "lost to something else"
        self.casualties |= set(self._running_on(worker))
        self._count("workers that Celery lost to an outage")

    def _worker_stopped(self, producer: Producer, worker: Worker, sidecar: SidecarProcess) -> None:
        os.kill(worker.process.pid, signal.SIGSTOP)
        time.sleep(self.rng.uniform(0.5, 2.5))
        os.kill(worker.process.pid, signal.SIGCONT)

    def _cancel(self, worker: Worker, sidecar: SidecarProcess) -> str:
        """cancelled; verdict: it was too late; lost: Celery lost the worker to an outage."""
        time.sleep(self.rng.uniform(0, 0.3))
        try:
            sidecar.cancel()
        except Refused as exc:
            assert exc.code == "verdict-reached"
            return "verdict"

        def back() -> bool:
            status = sidecar.status()
            assert status is None or status["phase"] == "serving"
            return worker.process.poll() is not None or bool(status and status["work"] and status["work"]["consuming"])

        eventually(back, 40, "consuming again")
        self._count("cancelled")
        if worker.process.poll() is None:
            return "cancelled"
        self._lost_to_the_outage(worker)
        return "lost"

    def _expire(self, producer: Producer, worker: Worker, sidecar: SidecarProcess) -> bool:
        stubborn = [producer.send(8, 0.05) for _ in range(max(3, self.concurrency // 2))]
        eventually(lambda: set(map(str, stubborn)) & set(self.setting.ledger.numbers("start", worker.name)), 20)
        sidecar.drain(timeout=f"{self.rng.uniform(0.3, 1.2):.2f}s")
        status = sidecar.until(lambda s: s["released"], 30)
        assert status["phase"] == "expired"
        ids = {task["id"] for task in status["drain"]["orphans"]}
        assert ids
        self._count("expired")
        running = self._running_on(worker)
        for number in running:
            self.orphans[number] = "late" if self.late else "early"
            self.expired_at[number] = time.time()
        assert len(ids) >= len(running), (ids, running)
        return True

    def _running_on(self, worker: Worker) -> list[str]:
        """Numbers that the ledger has started there and never ended."""
        worker.process.wait(10)
        ended = set(self.setting.ledger.numbers("end", worker.name))
        return [number for number in self.setting.ledger.numbers("start", worker.name) if number not in ended]

    def _released(self, worker: Worker, sidecar: SidecarProcess) -> None:
        before = self.setting.ledger.numbers("start", worker.name)
        time.sleep(0.2)
        self.taken_after_release += self.setting.ledger.numbers("start", worker.name)[len(before) :]

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    # -- the count ---------------------------------------------------------------------------
    def _settle(self, sent: int) -> None:
        """Wait until every number that must end has ended."""
        due = {str(n) for n in range(sent)} - {n for n, kind in self.orphans.items() if kind == "early"}
        if not self.late:
            due -= self.casualties

        def missing() -> set[str]:
            return due - set(self.setting.ledger.counts("end"))

        eventually(lambda: not missing(), 150, "every task has ended")

    def _outage(self, lines: list[list[str]], number: str) -> bool:
        """Whether a restart of the broker may have redelivered `number`."""
        times = [(line[0], float(line[3])) for line in lines if line[1] == number]
        starts = [at for what, at in times if what == "start"]
        ends = [at for what, at in times if what == "end"]
        for begin, end in self.outages:
            for start in starts[:1]:
                finish = ends[0] if ends else float("inf")
                if self.late and start <= end + BLUR and finish >= begin - BLUR:
                    return True
                if not self.late and begin - BLUR <= start <= end + BLUR:
                    return True
        return False

    def _judge(self, sent: int) -> str:
        lines = self.setting.ledger.lines()
        starts, ends = self.setting.ledger.counts("start"), self.setting.ledger.counts("end")
        lost, twice, late_again, redelivered = [], [], 0, 0
        for number in map(str, range(sent)):
            if self.orphans.get(number) == "early":
                assert starts[number] == 1, number
                continue
            if number in self.orphans:
                assert starts[number] >= 2, f"{number} was cut off and not run again"
                again = [float(line[3]) for line in lines if line[:2] == ["start", number]][1]
                assert again - self.expired_at[number] < 5, f"{number} ran again only after {again} s"
                late_again += 1
                continue
            if starts[number] == 1 and ends[number] == 1:
                continue
            if number in self.casualties or self._outage(lines, number):
                redelivered += 1
                continue
            (lost if ends[number] == 0 else twice).append(number)
        report = {
            "sent": sent,
            "lost": lost,
            "twice": twice,
            "cut off, early": sum(1 for kind in self.orphans.values() if kind == "early"),
            "cut off, run again": late_again,
            "redelivered by an outage": redelivered,
            "taken after the release": self.taken_after_release,
            **self.done,
        }
        text = json.dumps(report)
        assert not lost, text
        assert not twice, text
        assert not self.taken_after_release, text
        return text


__all__ = ["Campaign", "Producer", "Unreachable"]
