"""`drainer run`: a sidecar and the worker that it starts, without Kubernetes."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from drainer import logs
from drainer.core.phases import Phase
from drainer.settings import SidecarSettings
from drainer.sidecar.install import PACKAGE
from drainer.sidecar.linking import EXPIRED_EXIT
from drainer.sidecar.main import Sidecar

log = logs.get("run")

#: After the release, how long the agent may take to end the worker before we do it, seconds.
AGENT_ENDS = 3.0
#: From SIGQUIT (Celery's cold shutdown, which requeues late-acked tasks) to SIGKILL, seconds.
COLD = 10.0


def worker_environment(directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with what makes a worker load the agent; what the user has set is kept."""
    found = dict(environ)
    found["DRAINER_DIR"] = str(directory)
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(directory / "agent"), environ.get("PYTHONPATH")]))
    included = [name for name in environ.get("CELERY_WORKER_INCLUDE", "").split(",") if name]
    found["CELERY_WORKER_INCLUDE"] = ",".join([*included, PACKAGE])
    key = "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        extra = json.loads(environ.get(key) or "{}")
        extra["include"] = [*extra.get("include", []), PACKAGE]
        found[key] = json.dumps(extra)
    return found


async def supervise(settings: SidecarSettings, command: Sequence[str]) -> int:
    """Run `command` until it ends; the exit code of `drainer run`."""
    sidecar = Sidecar(settings)
    # A session of its own: Ctrl-C on the terminal is for us, not for the worker.
    worker = await asyncio.create_subprocess_exec(
        *command, env=worker_environment(settings.dir, os.environ), start_new_session=True
    )
    log.info("worker started", pid=worker.pid, dir=str(settings.dir))
    ended = asyncio.Event()
    guard = _Guard(sidecar, worker)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, guard.on_signal(number.name))
    serving = asyncio.create_task(sidecar.run(ended))
    minding = asyncio.create_task(guard.mind())
    code = await worker.wait()
    minding.cancel()
    sidecar.hands.tell_gone(f"the worker exited with {code}")
    await asyncio.sleep(0.05)  # let watchers read the verdict
    ended.set()
    await serving
    return _exit_code(sidecar, code)


class _Guard:
    """Ends the worker where the agent can't."""

    def __init__(self, sidecar: Sidecar, worker: asyncio.subprocess.Process) -> None:
        self._sidecar, self._worker = sidecar, worker

    def on_signal(self, name: str) -> Callable[[], None]:
        def handle() -> None:
            log.info("signal", signal=name)
            self._sidecar.terminate(name)
            if self._sidecar.hands.info is None:
                log.warning("no agent and no broker: Celery's own warm shutdown has to do")
                self._send(signal.SIGTERM)

        return handle

    async def mind(self) -> None:
        """Wait for the release, then see to it that the worker ends."""
        changed = asyncio.Event()
        self._sidecar.brain.subscribe(changed.set)
        while not self._sidecar.brain.state.released:
            changed.clear()
            await changed.wait()
        await asyncio.sleep(AGENT_ENDS)
        if self._sidecar.brain.state.phase is Phase.EXPIRED:
            self._send(signal.SIGQUIT)
            await asyncio.sleep(COLD)
            self._send(signal.SIGKILL)
        else:
            self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            log.info("signal to the worker", signal=number.name)
            self._worker.send_signal(number)


def _exit_code(sidecar: Sidecar, code: int) -> int:
    state = sidecar.brain.state
    if state.phase is Phase.EXPIRED:
        return EXPIRED_EXIT
    if state.drain is not None and state.drain.stopped is not None and code == 0:
        return 0
    return code if code >= 0 else 128 - code
