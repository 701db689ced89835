"""A real sidecar beside a real worker: drains, cancels, restarts, crashes, files."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import eventually
from tests.support.worker import ROOT, Setting, SidecarProcess, Worker


def pair(setting: Setting, *flags: str, **how: Any) -> tuple[Worker, SidecarProcess]:
    worker = setting.worker(**how)
    sidecar = setting.sidecar(worker.directory, *flags)
    sidecar.connected()
    return worker, sidecar


def test_a_worker_under_load_is_drained_cancelled_and_drained_again(setting: Setting) -> None:
    setting.send_work(range(12), 1.0)
    worker, sidecar = pair(setting)
    sidecar.until(lambda s: len(s["running"]) == 2)
    sidecar.drain(reason="deploy")
    sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
    sidecar.cancel()
    sidecar.until(lambda s: s["work"] and s["work"]["consuming"] and s["phase"] == "serving")
    eventually(lambda: len(setting.ledger.counts("start")) >= 4, 10)
    sidecar.drain(reason="deploy again")
    status = sidecar.until(lambda s: s["phase"] == "drained", 20)
    assert status["released"] is True
    assert status["drain"]["orphans"] == []
    assert (worker.directory / "released").read_text() == "drained\n"
    assert worker.alive(), "nothing terminates it: it is left to its owner"
    setting.worker("w2")
    eventually(lambda: len(setting.ledger.counts("end")) == 12, 20)
    assert set(setting.ledger.counts("start").values()) == {1}


def test_expired_then_run_again_elsewhere(setting: Setting) -> None:
    setting.send([("late", [1, 60, 0.1], {}), ("early", [2, 60], {})])
    worker, sidecar = pair(setting)
    sidecar.until(lambda s: len(s["running"]) == 2)
    setting.worker("w2")
    sidecar.drain(timeout="1s")
    status = sidecar.until(lambda s: s["released"], 15)
    assert status["phase"] == "expired"
    assert {o["name"]: o["outcome"] for o in status["drain"]["orphans"]} == {"late": "handed-back", "early": "lost"}
    assert all(0.9 < orphan["elapsed_seconds"] < 30 for orphan in status["drain"]["orphans"])
    assert worker.process.wait(5) == 3
    eventually(lambda: setting.ledger.numbers("end", "w2") == ["1"], 5)


def test_kill_9_of_the_sidecar_changes_no_drain(on_redis: Setting) -> None:
    on_redis.send_work(range(2), 6)
    worker, sidecar = pair(on_redis)
    sidecar.until(lambda s: len(s["running"]) == 2)
    before = sidecar.drain(timeout="1h", reason="deploy", by="me")["drain"]
    sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
    for _ in range(3):
        sidecar.restart()
    after = sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
    for key in ("id", "by", "reason", "trigger"):
        assert after["drain"][key] == before[key]
    assert before["remaining_seconds"] - 30 < after["drain"]["remaining_seconds"] < before["remaining_seconds"]
    assert [r["event"] for r in after["history"]] == ["requested", "stopped"]
    status = sidecar.until(lambda s: s["phase"] == "drained", 15)
    assert [r["event"] for r in status["history"]] == ["requested", "stopped", "drained", "released"]
    sidecar.restart()
    assert sidecar.phase() == "drained"


def test_a_worker_that_restarts_during_a_drain_takes_no_message(on_redis: Setting, redis_server: Any) -> None:
    on_redis.send_work(range(1), 30)
    worker, sidecar = pair(on_redis)
    sidecar.until(lambda s: len(s["running"]) == 1)
    sidecar.drain(timeout="1h")
    sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
    worker.kill()
    status = sidecar.until(lambda s: s["released"])
    assert status["phase"] == "drained"
    assert [orphan["name"] for orphan in status["drain"]["orphans"]] == ["work"]
    on_redis.send_work(range(10, 30))
    for _ in range(2):
        worker.start()
        agent = worker.agent()
        eventually(lambda: agent.ask("status")["broker"] == "connected", 20)
        assert agent.ask("status")["consuming"] == []
        worker.kill()
    assert redis_server.length() == 20


def test_a_stopped_sidecar_process_leaves_a_drain_that_the_next_one_finishes(on_redis: Setting) -> None:
    """Killed between "draining" on disk and the stop: the next sidecar stops the worker."""
    worker, sidecar = pair(on_redis)
    os.kill(worker.process.pid, signal.SIGSTOP)
    sidecar.drain()
    sidecar.kill()
    os.kill(worker.process.pid, signal.SIGCONT)
    sidecar.start()
    sidecar.until(lambda s: s["phase"] == "drained", 15)


def test_a_cancel_that_never_reached_the_worker_is_made_up_for(on_redis: Setting) -> None:
    on_redis.send_work(range(1), 8)
    worker, sidecar = pair(on_redis)
    sidecar.until(lambda s: len(s["running"]) == 1)
    sidecar.drain()
    sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
    os.kill(worker.process.pid, signal.SIGSTOP)
    sidecar.cancel()
    sidecar.kill()
    os.kill(worker.process.pid, signal.SIGCONT)
    sidecar.start()
    sidecar.until(lambda s: s["work"] and s["work"]["consuming"] == ["celery"], 15)


def test_a_frozen_worker_is_unknown_never_idle(on_redis: Setting) -> None:
    worker, sidecar = pair(on_redis)
    os.kill(worker.process.pid, signal.SIGSTOP)
    sidecar.drain()
    sidecar.until(lambda s: any(p["code"] == "worker-silent" for p in s["problems"]), 20)
    assert sidecar.phase() == "draining"
    os.kill(worker.process.pid, signal.SIGCONT)
    sidecar.until(lambda s: s["phase"] == "drained", 15)


def test_sigterm_drains_ends_the_worker_and_exits_0(on_redis: Setting) -> None:
    on_redis.send_work(range(2), 2)
    worker, sidecar = pair(on_redis)
    sidecar.until(lambda s: len(s["running"]) == 2)
    sidecar.process.terminate()
    assert sidecar.process.wait(15) == 0
    assert worker.process.wait(5) == 0
    assert len(on_redis.ledger.counts("end")) == 2


def test_two_sidecars_on_one_directory_the_second_refuses(on_redis: Setting) -> None:
    _, sidecar = pair(on_redis)
    command = [sys.executable, "-m", "drainer", "sidecar", "--dir", str(sidecar.directory), "--listen", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT)
    assert done.returncode == 73
    assert "another sidecar serves" in done.stderr
    assert sidecar.phase() == "serving"


@pytest.mark.parametrize("content", ['{"version": 1, "phase": "drai', '{"version": 7, "phase": "serving"}', ""])
def test_an_unreadable_state_is_kept_and_the_safe_side_taken(on_redis: Setting, content: str) -> None:
    directory = on_redis.folder / "dir-w1"
    directory.mkdir()
    (directory / "state.json").write_text(content)
    on_redis.send_work(range(3))
    worker = on_redis.worker()
    sidecar = on_redis.sidecar(directory)
    status = sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
    assert (status["phase"], status["drain"]["trigger"]) == ("draining", "recovery")
    assert [p["code"] for p in status["problems"]] == ["state-unreadable"]
    assert (directory / "state.json").read_text() == content
    assert on_redis.ledger.lines() == []
    sidecar.cancel()
    assert (directory / "state.json.unreadable-1").read_text() == content
    eventually(lambda: len(on_redis.ledger.counts("end")) == 3, 10)
    assert worker.alive()


def test_the_intent_file_starts_updates_and_cancels(on_redis: Setting) -> None:
    on_redis.send_work(range(1), 20)
    intent = on_redis.folder / "intent"
    worker, sidecar = pair(on_redis, "--intent-file", str(intent))
    sidecar.until(lambda s: len(s["running"]) == 1)

    def write(content: str) -> None:
        fresh = intent.with_suffix(".new")
        fresh.write_text(content)
        fresh.rename(intent)

    write('{"id": "d-7", "by": "contr')
    status = sidecar.until(lambda s: s["problems"])
    assert (status["phase"], status["problems"][0]["code"]) == ("serving", "intent-malformed")
    window = {"at": "2020-01-01T00:00:00Z", "deadline": "2020-01-01T02:00:00Z"}
    write(json.dumps({"id": "d-7", "by": "controller", "reason": "deploy", **window}))
    status = sidecar.until(lambda s: s["phase"] == "draining")
    assert (status["drain"]["id"], status["drain"]["trigger"], status["problems"]) == ("d-7", "controller", [])
    assert 7100 < status["drain"]["remaining_seconds"] <= 7200, "counted from first sight"
    sidecar.restart()
    status = sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
    assert len(status["history"]) == 2
    write("")
    sidecar.until(lambda s: s["phase"] == "serving" and s["work"] and s["work"]["consuming"])
    assert worker.alive()


def test_a_full_directory_is_said_and_the_drain_goes_on(on_redis: Setting, tmp_path: Path) -> None:
    """A directory in which nothing can be written any more (its quota, here: a file limit)."""
    worker, sidecar = pair(on_redis)
    subprocess.run(["prlimit", f"--pid={sidecar.process.pid}", "--fsize=0:0"], check=True)
    sidecar.drain()
    status = sidecar.until(lambda s: s["phase"] == "drained")
    assert any(problem["code"] == "state-not-saved" for problem in status["problems"])
    assert worker.alive()


def test_a_directory_that_cannot_be_written(on_redis: Setting) -> None:
    command = [sys.executable, "-m", "drainer", "sidecar", "--dir", "/proc/drainer", "--listen", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT)
    assert done.returncode == 73
    assert "can't be written" in done.stderr
    assert "DRAINER_DIR" in done.stderr


def test_a_stale_socket_is_no_worker_and_no_idleness(on_redis: Setting) -> None:
    import socket

    directory = on_redis.folder / "stale"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory / "agent.sock"))
    # Its lock is held: whoever serves there lives, so a refusal is no proof of death.
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl,time;f=open('{directory}/agent.sock.lock','a');fcntl.lockf(f,2);"
            "print(1,flush=True);time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    sidecar = on_redis.sidecar(directory)
    sidecar.drain()
    assert sidecar.phase() == "draining"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    sidecar.until(lambda s: s["phase"] == "drained", 10, "the lock is free now: that is proof")


def test_an_agent_of_another_protocol_is_named(on_redis: Setting) -> None:
    directory = on_redis.folder / "other"
    directory.mkdir()
    server = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket,json,sys\n"
            f"s=socket.socket(socket.AF_UNIX);s.bind('{directory}/agent.sock');s.listen(5);print(1,flush=True)\n"
            "while True:\n"
            " c,_=s.accept()\n"
            " for l in c.makefile('rb'):\n"
            "  r=json.loads(l);c.sendall(json.dumps({'re':r['do'],'id':r['id'],'protocol':9}).encode()+b'\\n')\n",
        ],
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    server.stdout.readline()
    sidecar = on_redis.sidecar(directory)
    status = sidecar.until(lambda s: s["problems"], 20)
    assert status["problems"][0]["code"] == "agent-incompatible"
    assert "protocol 9" in status["problems"][0]["detail"]
    server.kill()
    server.wait()
    server.stdout.close()


def test_a_worker_name_with_odd_characters(on_redis: Setting) -> None:
    worker, sidecar = pair(on_redis, options=("-n", "wörk <b>'\"@tést"))
    status = sidecar.until(lambda s: s["worker"]["name"])
    assert status["worker"]["name"].endswith("@tést")
    sidecar.drain()
    sidecar.until(lambda s: s["phase"] == "drained")
    assert worker.alive()
