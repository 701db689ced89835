"""Real workers, real sidecars, and the ledger that counts what they did."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drainer.client.http import Client
from drainer.errors import Unreachable
from drainer.sidecar.install import install_agent
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.run import Run

ROOT = Path(__file__).parent.parent.parent


class Ledger:
    """What tasks wrote down: starts and ends, by number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()]

    def counts(self, what: str) -> Counter[str]:
        return Counter(line[1] for line in self.lines() if line[0] == what)

    def numbers(self, what: str, worker: str | None = None) -> list[str]:
        return [line[1] for line in self.lines() if line[0] == what and worker in (None, line[2])]


@dataclass
class Setting:
    """A broker, an app and a ledger; makes workers, producers and sidecars."""

    broker: str
    folder: Path
    queue: str = "celery"
    conf: dict[str, Any] | None = None
    quorum: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(self.folder / "ledger")
        self._open: list[Callable[[], None]] = []

    def environ(self, **more: str) -> dict[str, str]:
        found = {
            **os.environ,
            "TEST_BROKER": self.broker,
            "TEST_LEDGER": str(self.ledger.path),
            "TEST_QUEUE": self.queue,
            "TEST_CONF": json.dumps(self.conf or {}),
            "TEST_QUORUM": str(self.quorum or ""),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "C_FORCE_ROOT": "1",
            **more,
        }
        found.pop("DRAINER_DIR", None) if "DRAINER_DIR" not in more else None
        return found

    def send(self, calls: list[tuple[str, list[Any], dict[str, Any]]]) -> None:
        """Send (task, args, options) in one short-lived producer."""
        from celery import Celery

        with Celery("producer", broker=self.broker, set_as_current=False) as app:
            app.conf.update(self.conf or {}, task_ignore_result=True, task_default_queue=self.queue)
            if self.quorum:
                app.conf.task_queues = [quorum_queue(self.queue, self.quorum)]
            with app.producer_pool.acquire(block=True) as producer:
                for name, args, options in calls:
                    app.send_task(name, args, producer=producer, **{"queue": self.queue, **options})

    def send_work(self, numbers: range, seconds: float = 0.0, task: str = "work", **options: Any) -> None:
        self.send([(task, [number, seconds], options) for number in numbers])

    def worker(self, name: str = "w1", **how: Any) -> "Worker":
        worker = Worker(self, name, **how)
        self._open.append(worker.close)
        return worker

    def sidecar(self, directory: Path, *flags: str, **how: Any) -> "SidecarProcess":
        sidecar = SidecarProcess(self, directory, flags, **how)
        self._open.append(sidecar.close)
        return sidecar

    def run(self, name: str, command: list[str], *flags: str, **environ: str) -> "Run":
        from tests.support.run import Run

        run = Run(self, name, command, flags, environ)
        self._open.append(run.close)
        return run

    def close(self) -> None:
        while self._open:
            self._open.pop()()


def quorum_queue(name: str, limit: int) -> Any:
    """A quorum queue with a delivery limit, as the tests' app declares it."""
    from kombu import Queue

    return Queue(name, queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": limit})


class AgentClient:
    """Speaks the agent's protocol, one request after another."""

    def __init__(self, path: Path, timeout: float = 5.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def send_raw(self, data: bytes) -> dict[str, Any]:
        self._socket.sendall(data)
        return self.read()

    def read(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise ConnectionError("the agent closed the connection")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        return self.send_raw(json.dumps({"v": 1, "do": do, **fields}).encode() + b"\n")

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Worker:
    """A `celery worker` with the agent in a directory of its own."""

    def __init__(
        self,
        setting: Setting,
        name: str,
        concurrency: int = 2,
        pool: str = "prefork",
        options: tuple[str, ...] = (),
        agent: bool = True,
        directory: Path | None = None,
        wait: bool = True,
        level: str = "info",
        environ: dict[str, str] | None = None,
    ) -> None:
        self.setting, self.name = setting, name
        self.directory = directory or setting.folder / f"dir-{name}"
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.node = f"{name}@test"
        self.log = setting.folder / f"{name}.log"
        agent_path = setting.folder / "agent"
        if agent and not (agent_path / "drainer_agent").exists():
            install_agent(agent_path)
        more = {"TEST_WORKER": name, "DRAINER_DIR": str(self.directory)}
        if agent:
            more["PYTHONPATH"] = f"{agent_path}:{ROOT}"
            more["CELERY_WORKER_INCLUDE"] = "drainer_agent"
        more |= environ or {}
        self._command = [sys.executable, "-m", "celery", "-A", "tests.support.app", "worker", "-l", level]
        self._command += ["-c", str(concurrency), "-P", pool, "-n", self.node, *options]
        self._environ = setting.environ(**more)
        self._agents: list[AgentClient] = []
        self.start()
        if wait:
            eventually(lambda: "ready." in self.text(), 40, f"{name} is ready: {self.log}")

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=log, start_new_session=True, cwd=ROOT
            )

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def agent(self, timeout: float = 5.0) -> AgentClient:
        def connect() -> AgentClient | None:
            try:
                return AgentClient(self.directory / "agent.sock", timeout)
            except OSError:
                return None

        client = eventually(connect, 20, "the agent's socket")
        self._agents.append(client)
        return client

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the main process alone, as the kernel's OOM killer would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        for agent in self._agents:
            agent.close()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.process.wait()


class SidecarProcess:
    """A real `drainer sidecar`."""

    def __init__(
        self, setting: Setting, directory: Path, flags: tuple[str, ...], environ: dict[str, str] | None = None
    ) -> None:
        self.directory, self._setting = directory, setting
        self._flags, self._more = flags, environ or {}
        self.log = setting.folder / f"sidecar-{directory.name}.log"
        self.client = Client(str(directory / "sidecar.sock"))
        self.start()

    def start(self) -> None:
        listen = () if "--listen" in self._flags else ("--listen", "none")
        command = [sys.executable, "-m", "drainer", "sidecar", "--dir", str(self.directory), *listen, *self._flags]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--log-format", "json"],
                env=self._setting.environ(**self._more),
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        eventually(self.status, 15, f"the sidecar answers: {self.log}")

    def status(self) -> dict[str, Any] | None:
        try:
            return self.client.status()
        except Unreachable:
            return None

    def phase(self) -> str | None:
        status = self.status()
        return None if status is None else str(status["phase"])

    def until(self, look: Callable[[dict[str, Any]], Any], within: float = 15.0, what: str = "") -> dict[str, Any]:
        def seen() -> dict[str, Any] | None:
            status = self.status()
            return status if status is not None and look(status) else None

        return eventually(seen, within, what or "the status")

    def connected(self) -> None:
        self.until(lambda status: status["work"] and status["worker"]["pool"], 30, "the sidecar sees the worker")

    def drain(self, **body: Any) -> dict[str, Any]:
        return self.client.request("POST", "/v1/drain", body)

    def cancel(self) -> dict[str, Any]:
        return self.client.request("DELETE", "/v1/drain", {})

    def force(self) -> dict[str, Any]:
        return self.client.request("POST", "/v1/force", {})

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
