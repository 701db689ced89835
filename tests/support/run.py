"""A real `drainer run`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from drainer.client.http import Client
from drainer.errors import Unreachable
from tests.support.waiting import eventually
from tests.support.worker import ROOT, Setting


class Run:
    """A real `drainer run`."""

    def __init__(
        self, setting: Setting, name: str, command: list[str], flags: tuple[str, ...], environ: dict[str, str]
    ) -> None:
        runtime = setting.folder / "r"
        runtime.mkdir(exist_ok=True)
        self.name, self.directory = name, runtime / "drainer" / name
        self.log = setting.folder / f"run-{name}.log"
        self.environ = setting.environ(XDG_RUNTIME_DIR=str(runtime), TEST_WORKER=name, **environ)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "drainer",
                    "run",
                    "--name",
                    name,
                    "--log-format",
                    "json",
                    *flags,
                    "--",
                    *command,
                ],
                env=self.environ,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,
            )
        self.client = Client(str(self.directory / "sidecar.sock"))

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def status(self) -> dict[str, Any] | None:
        try:
            return self.client.status()
        except Unreachable:
            return None

    def until(self, look: Callable[[dict[str, Any]], Any], within: float = 20.0) -> dict[str, Any]:
        def seen() -> dict[str, Any] | None:
            status = self.status()
            return status if status is not None and look(status) else None

        return eventually(seen, within, f"the status of {self.name}: {self.log}")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        pids = [line for line in self.text().splitlines() if '"worker started"' in line]
        for line in pids:
            try:
                os.killpg(json.loads(line)["pid"], signal.SIGKILL)
            except (ProcessLookupError, PermissionError, ValueError):
                pass
        self.process.wait()


def celery_worker(node: str = "w@test", concurrency: int = 2, *options: str) -> list[str]:
    """The command line of a worker for `Run`."""
    return [
        *(sys.executable, "-m", "celery", "-A", "tests.support.app", "worker", "-l", "info"),
        *("-c", str(concurrency), "-n", node, *options),
    ]
