"""The link over the broker: stop, wait, release."""

import subprocess
import sys

from tests.support.servers import RedisServer
from tests.support.waiting import eventually
from tests.support.worker import ROOT, Setting


def test_a_drain_over_the_broker_loses_nothing(setting: Setting) -> None:
    setting.send_work(range(10), 0.8)
    worker = setting.worker(agent=False)
    sidecar = setting.sidecar(worker.directory, "--link", "pidbox", environ={"DRAINER_BROKER_URL": setting.broker})
    status = sidecar.until(lambda s: s["work"], 20)
    assert status["worker"]["name"] == "w1@test"
    assert any("not handed back" in limit for limit in status["worker"]["limits"])
    sidecar.drain()
    status = sidecar.until(lambda s: s["released"], 60)
    assert status["phase"] == "drained"
    ended = len(setting.ledger.counts("end"))
    assert ended == len(setting.ledger.counts("start"))
    assert status["drain"]["orphans"] == []
    setting.worker("w2")
    eventually(lambda: len(setting.ledger.counts("end")) == 10, 20)
    assert set(setting.ledger.counts("start").values()) == {1}


def test_cancel_goes_back_to_the_queues_of_before(setting: Setting) -> None:
    setting.send_work(range(1), 8)
    worker = setting.worker(agent=False)
    sidecar = setting.sidecar(worker.directory, "--link", "pidbox", environ={"DRAINER_BROKER_URL": setting.broker})
    sidecar.until(lambda s: s["work"] and s["work"]["running"], 20)
    sidecar.drain()
    sidecar.until(lambda s: s["work"] and s["work"]["stopped"], 20)
    sidecar.cancel()
    sidecar.until(lambda s: s["work"] and s["work"]["consuming"] == [setting.queue], 20)


def test_at_the_deadline_it_lists_what_runs_and_releases(on_redis: Setting) -> None:
    on_redis.send_work(range(1), 60)
    worker = on_redis.worker(agent=False)
    sidecar = on_redis.sidecar(worker.directory, "--link", "pidbox", environ={"DRAINER_BROKER_URL": on_redis.broker})
    sidecar.until(lambda s: s["work"] and s["work"]["running"], 20)
    sidecar.drain(timeout="3s")
    status = sidecar.until(lambda s: s["released"], 20)
    assert status["phase"] == "expired"
    assert [(o["name"], o["outcome"]) for o in status["drain"]["orphans"]] == [("work", "unknown")]
    assert worker.alive()


def test_a_worker_without_remote_control_is_unknown_not_idle(redis_server: RedisServer, on_redis: Setting) -> None:
    on_redis.conf = {"worker_enable_remote_control": False}
    worker = on_redis.worker(agent=False, options=("--without-mingle", "--without-gossip"))
    sidecar = on_redis.sidecar(worker.directory, "--link", "pidbox", environ={"DRAINER_BROKER_URL": on_redis.broker})
    sidecar.drain()
    status = sidecar.until(lambda s: s["problems"], 40)
    assert status["phase"] == "draining"
    assert "worker_enable_remote_control=False" in status["problems"][0]["detail"]


def test_the_agent_needs_no_remote_control(on_redis: Setting) -> None:
    on_redis.conf = {"worker_enable_remote_control": False}
    worker = on_redis.worker(options=("--without-mingle", "--without-gossip"))
    sidecar = on_redis.sidecar(worker.directory)
    sidecar.drain()
    assert sidecar.until(lambda s: s["released"])["phase"] == "drained"


def test_an_unreachable_broker_is_said_without_its_password(on_redis: Setting) -> None:
    url = "redis://:hunter2-password@127.0.0.1:1/0"
    sidecar = on_redis.sidecar(on_redis.folder / "d", "--link", "pidbox", environ={"DRAINER_BROKER_URL": url})
    sidecar.drain()
    status = sidecar.until(lambda s: s["problems"], 40)
    assert "can't be reached" in status["problems"][0]["detail"]
    assert "hunter2" not in sidecar.text() + str(status)


def test_pidbox_without_a_broker_is_refused_at_the_start() -> None:
    command = [sys.executable, "-m", "drainer", "sidecar", "--link", "pidbox"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 64
    assert "--link: pidbox needs" in done.stderr
