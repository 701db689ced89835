"""Threads, gevent and solo drain within their limits, and `hello` says what differs."""

import time

import pytest

from tests.support.servers import need_module
from tests.support.waiting import eventually
from tests.support.worker import Setting

pytestmark = pytest.mark.compat


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_a_drain_in_each_pool_runs_every_task_once(setting: Setting, pool: str) -> None:
    if pool == "gevent":
        need_module("gevent")
    worker = setting.worker(pool=pool)
    sidecar = setting.sidecar(worker.directory)
    sidecar.connected()
    setting.send_work(range(12), 1.5 if pool == "gevent" else 0.6)  # gevent acts within 2 s only
    eventually(lambda: setting.ledger.counts("start"), 20)
    sidecar.drain()
    status = sidecar.until(lambda s: s["released"], 30)
    assert status["phase"] == "drained"
    assert status["worker"]["limits"], "what differs from prefork is said"
    ended = len(setting.ledger.counts("end"))
    assert ended == len(setting.ledger.counts("start")) < 12
    time.sleep(0.3)
    assert len(setting.ledger.counts("start")) == ended, "no new task starts on a drained worker"
    setting.worker("w2")
    eventually(lambda: len(setting.ledger.counts("end")) == 12, 30)
    assert set(setting.ledger.counts("start").values()) == {1}


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_resume_in_each_pool(setting: Setting, pool: str) -> None:
    if pool == "gevent":
        need_module("gevent")
    worker = setting.worker(pool=pool)
    sidecar = setting.sidecar(worker.directory)
    sidecar.connected()
    setting.send_work(range(1), 3)
    sidecar.until(lambda s: s["running"] or setting.ledger.lines(), 20)
    sidecar.drain()
    sidecar.cancel()
    setting.send_work(range(1, 8))
    eventually(lambda: len(setting.ledger.counts("end")) == 8, 30)
    assert set(setting.ledger.counts("start").values()) == {1}


def test_a_task_of_the_solo_pool_is_cut_off_at_its_deadline(on_redis: Setting) -> None:
    """The loop is the task: the agent's thread hands back and ends the process."""
    on_redis.send([("late", [1, 60, 0.1], {})])
    worker = on_redis.worker(pool="solo")
    sidecar = on_redis.sidecar(worker.directory)
    eventually(lambda: on_redis.ledger.counts("start"), 20)
    sidecar.drain(timeout="1s")
    status = sidecar.until(lambda s: s["released"], 20)
    assert status["phase"] == "expired"
    assert worker.process.wait(5) == 3
    on_redis.worker("w2")
    eventually(lambda: on_redis.ledger.numbers("end", "w2") == ["1"], 10)


def test_an_embedded_beat_stops_with_consuming_and_comes_back(on_redis: Setting) -> None:
    on_redis.conf = {
        "beat_schedule": {"tick": {"task": "work", "schedule": 0.5, "args": ["beat"]}},
        "beat_schedule_filename": str(on_redis.folder / "beat"),
    }
    worker = on_redis.worker(options=("-B", "-s", str(on_redis.folder / "beat")))
    agent = worker.agent()
    eventually(lambda: len(on_redis.ledger.lines()) >= 2, 15)
    agent.ask("stop", drain="d-1")
    from tests.support.servers import redis

    with redis.Redis.from_url(on_redis.broker) as client:
        client.delete("celery")
        time.sleep(1.5)  # three beats that must not be
        assert client.llen("celery") == 0
    done = len(on_redis.ledger.lines())
    agent.ask("resume")
    eventually(lambda: len(on_redis.ledger.lines()) > done + 1, 15)
