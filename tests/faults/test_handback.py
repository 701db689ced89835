"""Handing back, again and again: quorum queues, TLS, Sentinel, a hundred thousand ETAs, many starts."""

import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import Certificates, RabbitServer, RedisServer, Sentinel
from tests.support.waiting import eventually
from tests.support.worker import Setting


@pytest.mark.parametrize("quorum", [False, True])
def test_the_same_message_is_handed_back_thirty_times(rabbit: RabbitServer, tmp_path: Path, quorum: bool) -> None:
    """On a quorum queue with a delivery limit that thirty deliveries would pass."""
    setting = Setting(rabbit.url, tmp_path / "s", queue=f"q-{uuid.uuid4().hex[:8]}", quorum=20 if quorum else 0)
    try:
        setting.send_work(range(1), 25)
        worker = setting.worker(concurrency=1)
        agent = worker.agent()
        eventually(lambda: agent.ask("status")["running"], 10)
        setting.send_work(range(1, 3))
        for number in range(30):
            eventually(lambda: len(agent.ask("status")["reserved"]) == 2, 10)
            assert agent.ask("stop", drain=f"d-{number}")["verified"]
            eventually(lambda: agent.ask("status")["returning"] == 0, 5)
            assert agent.ask("resume")["gate"] == "open"
        assert agent.ask("status")["returned"] == 60
        eventually(lambda: len(setting.ledger.counts("end")) == 3, 40)
        assert set(setting.ledger.counts("start").values()) == {1}
    finally:
        setting.close()
        rabbit.purge(setting.queue)


def drained_and_resumed(setting: Setting) -> None:
    setting.send_work(range(12), 0.5)
    worker = setting.worker()
    sidecar = setting.sidecar(worker.directory)
    sidecar.until(lambda s: len(s["running"]) == 2, 20)
    sidecar.drain()
    sidecar.until(lambda s: s["work"] and s["work"]["stopped"])
    sidecar.cancel()
    sidecar.until(lambda s: s["work"] and s["work"]["consuming"])
    sidecar.drain()
    sidecar.until(lambda s: s["phase"] == "drained")
    setting.worker("w2")
    eventually(lambda: len(setting.ledger.counts("end")) == 12, 20)
    assert set(setting.ledger.counts("start").values()) == {1}


def test_redis_with_tls(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", tls=Certificates(tmp_path / "tls"))
    setting = Setting(server.url, tmp_path / "s")
    try:
        drained_and_resumed(setting)
    finally:
        setting.close()
        server.stop()


def test_redis_behind_sentinel(redis_server: RedisServer, tmp_path: Path) -> None:
    sentinel = Sentinel(tmp_path / "sentinel", redis_server)
    setting = Setting(sentinel.url, tmp_path / "s", conf={"broker_transport_options": {"master_name": "mymaster"}})
    try:
        drained_and_resumed(setting)
    finally:
        setting.close()
        sentinel.stop()


def test_redis_without_the_rights_to_client_and_scripts(tmp_path: Path) -> None:
    """An ACL without CLIENT and EVAL: a stop waits for its BRPOP, the hand back goes one by one."""
    server = RedisServer(
        tmp_path / "redis",
        extra=("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-client|id", "-client|unblock", "-eval"),
    )
    setting = Setting(server.url, tmp_path / "s")
    try:
        drained_and_resumed(setting)
    finally:
        setting.close()
        server.stop()


def test_a_key_prefix_and_priorities(redis_server: RedisServer, tmp_path: Path) -> None:
    options = {"global_keyprefix": "tenant:", "queue_order_strategy": "priority"}
    setting = Setting(redis_server.url, tmp_path / "s", conf={"broker_transport_options": options})
    try:
        setting.send_work(range(2), 4)
        worker = setting.worker()
        agent = worker.agent()
        eventually(lambda: len(agent.ask("status")["running"]) == 2, 10)
        setting.send_work(range(2, 5), priority=0)
        setting.send_work(range(5, 7), priority=9)
        eventually(lambda: len(agent.ask("status")["reserved"]) == 5, 10)
        agent.ask("stop", drain="d-1")
        with redis_server.client() as client:
            assert client.llen("tenant:celery") == 3
            assert client.llen("tenant:celery\x06\x169") == 2
            assert client.hlen("tenant:unacked") == 0 or len(setting.ledger.counts("end")) < 2
        agent.ask("resume")
        eventually(lambda: len(setting.ledger.counts("end")) == 7, 20)
        assert set(setting.ledger.counts("start").values()) == {1}
    finally:
        setting.close()


def test_twenty_starts_under_an_active_drain_take_none_of_1000_messages(on_redis: Setting, redis_server: Any) -> None:
    starts = int(os.environ.get("DRAINER_TEST_STARTS", "20"))
    on_redis.send_work(range(1000))
    directory = on_redis.folder / "dir-w0"
    directory.mkdir()
    sidecar = on_redis.sidecar(directory)
    sidecar.drain(timeout="never")
    for number in range(starts):
        worker = on_redis.worker(f"w{number}", directory=directory, options=("--prefetch-multiplier", "16"))
        agent = worker.agent()
        assert eventually(lambda agent=agent: agent.ask("status")["loop"] == "ok", 10)  # type: ignore[misc]
        worker.kill()
        worker.close()
    assert redis_server.length() == 1000
    assert redis_server.unacked() == 0
    assert on_redis.ledger.lines() == []


@pytest.mark.timeout(900)
def test_very_many_eta_messages_do_not_block_the_loop(on_redis: Setting, redis_server: Any) -> None:
    count = int(os.environ.get("DRAINER_TEST_ETAS", "5000"))
    on_redis.send_work(range(count), countdown=3600)
    worker = on_redis.worker()
    agent = worker.agent(timeout=60)
    eventually(lambda: agent.ask("status")["scheduled"] == count, 600, "all are held")
    agent.ask("stop", drain="d-1")
    slowest, answers = 0.0, 0
    while agent.ask("status")["returning"]:
        start = time.monotonic()
        agent.ask("status")
        slowest, answers = max(slowest, time.monotonic() - start), answers + 1
    assert redis_server.length() == count
    assert redis_server.unacked() == 0
    assert answers > 1, "the loop answered in between"
    print(f"\n{count} ETA messages handed back; the slowest status meanwhile took {slowest * 1000:.0f} ms")
