"""The preStop hook: waits for the release, and drains by itself when the sidecar doesn't."""

import os
import signal
import subprocess
import sys
from typing import Any

from tests.support.waiting import eventually
from tests.support.worker import Setting, SidecarProcess, Worker


def hook(worker: Worker) -> "subprocess.Popen[str]":
    path = worker.setting.folder / "agent/drainer_agent/wait.py"
    environ = {**os.environ, "DRAINER_DIR": str(worker.directory)}
    return subprocess.Popen([sys.executable, str(path)], env=environ, stderr=subprocess.PIPE, text=True)


def finished(process: "subprocess.Popen[str]", within: float) -> str:
    _, errors = process.communicate(timeout=within)
    assert process.returncode == 0
    return errors


def pair(setting: Setting, *flags: str) -> tuple[Worker, SidecarProcess]:
    worker = setting.worker()
    sidecar = setting.sidecar(worker.directory, *flags)
    sidecar.connected()
    setting.send_work(range(2), 4)
    sidecar.until(lambda s: len(s["running"]) == 2)
    return worker, sidecar


def test_it_blocks_until_the_release_and_the_worker_is_ended(on_redis: Setting) -> None:
    worker, sidecar = pair(on_redis)
    first, second = hook(worker), hook(worker)  # two at once: a kubelet restart runs it again
    status = sidecar.until(lambda s: s["terminating"])
    assert (status["phase"], status["drain"]["by"]) == ("draining", "preStop")
    assert first.poll() is None
    assert "released" in finished(first, 15)
    assert "released" in finished(second, 15)
    assert worker.process.wait(5) == 0
    assert len(on_redis.ledger.counts("end")) == 2


def test_without_a_sidecar_it_stops_the_worker_and_waits_itself(on_redis: Setting, redis_server: Any) -> None:
    worker, sidecar = pair(on_redis)
    sidecar.kill()
    process = hook(worker)
    agent = worker.agent()
    eventually(lambda: agent.ask("status")["gate"] == "closed", 12, "after 5 s of silence the agent is told")
    on_redis.send_work(range(10, 15))
    assert "stopped and empty" in finished(process, 20)
    assert len(on_redis.ledger.counts("end")) == 2
    assert redis_server.length() == 5


def test_a_hung_sidecar_is_no_reason_to_go_on_consuming(on_redis: Setting) -> None:
    worker, sidecar = pair(on_redis)
    os.kill(sidecar.process.pid, signal.SIGSTOP)
    process = hook(worker)
    agent = worker.agent()
    eventually(lambda: agent.ask("status")["gate"] == "closed", 15)
    assert "stopped and empty" in finished(process, 25)


def test_it_ends_at_the_deadline_of_the_drain_by_itself(on_redis: Setting) -> None:
    worker, sidecar = pair(on_redis)
    sidecar.drain(timeout="2s")
    sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
    sidecar.kill()
    assert "deadline" in finished(hook(worker), 10)


def test_it_does_not_wait_for_the_dead(on_redis: Setting) -> None:
    worker, sidecar = pair(on_redis)
    sidecar.kill()
    worker.kill()
    assert "neither" in finished(hook(worker), 20)
