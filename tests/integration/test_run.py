"""`drainer run` and the commands around it, as a user meets them."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

from tests.support.run import Run, celery_worker
from tests.support.waiting import eventually
from tests.support.worker import ROOT, Setting


def cli(run: Run, *words: str, timeout: float = 30) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "drainer", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=run.environ)


def started(setting: Setting, name: str = "one", *options: str, **environ: str) -> Run:
    run = setting.run(name, celery_worker(f"{name}@test", 2, *options), **environ)
    run.until(lambda s: s["work"] and s["work"]["consuming"] and s["worker"]["pool"], 40)
    return run


def test_sigterm_drains_and_exits_0(setting: Setting) -> None:
    setting.send_work(range(8), 1.5)
    run = started(setting)
    run.until(lambda s: len(s["running"]) == 2)
    run.process.terminate()
    assert run.process.wait(20) == 0
    assert len(setting.ledger.counts("end")) == 2
    assert not run.directory.exists(), "its private directory is gone"
    again = started(setting, "two")
    eventually(lambda: len(setting.ledger.counts("end")) == 8, 20)
    assert set(setting.ledger.counts("start").values()) == {1}
    assert again.process.poll() is None


def test_a_second_sigterm_forces_and_exits_3(on_redis: Setting) -> None:
    on_redis.send([("late", [1, 60, 0.1], {})])
    run = started(on_redis)
    run.until(lambda s: len(s["running"]) == 1)
    run.process.terminate()
    run.until(lambda s: s["phase"] == "draining")
    run.process.terminate()
    assert run.process.wait(15) == 3
    started(on_redis, "two")
    eventually(lambda: on_redis.ledger.numbers("end", "two") == ["1"], 10)


def test_the_deadline_forces_too(on_redis: Setting) -> None:
    on_redis.send([("late", [1, 60, 0.1], {})])
    run = on_redis.run("one", celery_worker(), "--timeout", "1s")
    run.until(lambda s: len(s["running"]) == 1)
    run.process.terminate()
    assert run.process.wait(15) == 3


def test_the_exit_code_of_a_worker_that_ends_by_itself_is_passed_on(on_redis: Setting) -> None:
    run = on_redis.run("one", [sys.executable, "-c", "raise SystemExit(7)"])
    assert run.process.wait(15) == 7
    run = on_redis.run("two", [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    assert run.process.wait(15) == 137
    run = on_redis.run("three", ["/nonexistent/celery"])
    assert run.process.wait(15) == 127


def test_several_on_one_machine_and_the_commands_for_them(on_redis: Setting) -> None:
    one, two = started(on_redis, "one"), started(on_redis, "two")
    several = cli(one, "status")
    assert several.returncode == 64
    assert "one, two" in several.stderr
    assert cli(one, "status", "one").stdout.startswith("phase    serving\nworker   one@test · prefork x 2 · link agent")
    done = cli(one, "drain", "one", "-m", "deploy", "--deadline", "1h", "--by", "me")
    assert done.returncode == 0
    for word in ("requested by me: deploy; deadline in 1h", "stopped: not consuming", "drained", "released"):
        assert word in done.stdout
    assert one.process.wait(10) == 0
    alone = cli(two, "status", "-o", "json")
    assert json.loads(alone.stdout)["worker"]["name"] == "two@test"


def test_drain_extend_cancel_wait_and_force(on_redis: Setting) -> None:
    on_redis.send([("late", [1, 60, 0.1], {})])
    run = started(on_redis)
    run.until(lambda s: len(s["running"]) == 1)
    nothing = [cli(run, "cancel"), cli(run, "force"), cli(run, "extend", "--deadline", "1h"), cli(run, "wait")]
    assert [done.returncode for done in nothing] == [4, 4, 4, 4]
    assert all("start a drain first" in done.stderr for done in nothing)
    past = cli(run, "drain", "--deadline", "2001-01-01T00:00:00Z")
    assert past.returncode == 4
    assert "in the past" in past.stderr
    wrong = [
        cli(run, "drain", "--deadline", "soon"),
        cli(run, "drain", "--deadline", "1h", "--no-deadline"),
        cli(run, "drian"),
    ]
    assert [done.returncode for done in wrong] == [64, 64, 64]
    assert cli(run, "drain", "--no-wait", "--no-deadline").returncode == 0
    assert cli(run, "wait", "--timeout", "500ms").returncode == 75
    assert "deadline" in cli(run, "extend", "--deadline", "2h").stdout
    assert cli(run, "cancel", "-m", "not now").returncode == 0
    run.until(lambda s: s["work"] and s["work"]["consuming"])
    forced = cli(run, "drain", "--force")
    assert forced.returncode == 3
    assert "cut off: late" in forced.stdout
    assert run.process.wait(10) == 3


def test_ctrl_c_stops_watching_and_not_the_drain(on_redis: Setting) -> None:
    on_redis.send_work(range(1), 4)
    run = started(on_redis)
    run.until(lambda s: len(s["running"]) == 1)
    watching = subprocess.Popen(
        [sys.executable, "-m", "drainer", "drain"],
        env=run.environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run.until(lambda s: s["phase"] == "draining")
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=10)
    assert watching.returncode == 130
    assert "the drain goes on" in errors
    assert run.process.wait(15) == 0


def test_wait_returns_the_verdict(on_redis: Setting) -> None:
    on_redis.send_work(range(1), 2)
    run = started(on_redis)
    run.until(lambda s: len(s["running"]) == 1)
    cli(run, "drain", "--no-wait")
    done = cli(run, "wait", "-o", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["phase"] == "drained"


def test_no_sidecar_is_an_answer(on_redis: Setting, tmp_path: Any) -> None:
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "DRAINER_DIR": str(tmp_path / "none")}
    done = subprocess.run([sys.executable, "-m", "drainer", "status"], capture_output=True, text=True, env=environ)
    assert done.returncode == 69
    assert "no sidecar runs on this machine" in done.stderr


def test_without_the_agent_run_still_drains_by_the_broker(on_redis: Setting) -> None:
    """A worker with -I doesn't load the agent: the sidecar says so and uses the broker."""
    on_redis.send_work(range(2), 14)
    run = on_redis.run(
        "one", celery_worker("one@test", 2, "-I", "tests.support.app"), DRAINER_BROKER_URL=on_redis.broker
    )
    status = run.until(lambda s: s["worker"]["link"] == "pidbox" and s["work"], 40)
    assert [problem["code"] for problem in status["problems"]] == ["agent-not-loaded"]
    run.process.terminate()
    assert run.process.wait(40) == 0
    assert len(on_redis.ledger.counts("end")) == 2


def test_without_agent_and_broker_celerys_own_warm_shutdown_has_to_do(on_redis: Setting) -> None:
    on_redis.send_work(range(2), 3)
    run = on_redis.run("one", celery_worker("one@test", 2, "-I", "tests.support.app"))
    eventually(lambda: len(on_redis.ledger.counts("start")) == 2, 20)
    run.process.terminate()
    assert run.process.wait(30) == 0
    assert len(on_redis.ledger.counts("end")) == 2
