"""The agent in a real worker, on a real Redis and a real RabbitMQ."""

import json
import os
from typing import Any

import pytest

from tests.support.waiting import eventually
from tests.support.worker import Setting, Worker

pytestmark = pytest.mark.compat


def running(worker: Worker, count: int) -> Any:
    agent = worker.agent()
    return eventually(lambda: len(agent.ask("status")["running"]) == count, 15, f"{count} running")


def test_hello_says_who_serves_and_what_it_can(setting: Setting) -> None:
    hello = setting.worker().agent().ask("hello", id=5)
    assert (hello["re"], hello["id"], hello["v"], hello["protocol"]) == ("hello", 5, 1, 1)
    assert (hello["pool"], hello["concurrency"], hello["app"]) == ("prefork", 2, "celery")
    assert hello["hand_back"] is True
    assert hello["hostname"] == "w1@test"


def test_stop_hands_back_what_has_not_started_and_keeps_what_runs(setting: Setting, broker: Any) -> None:
    setting.send_work(range(10), 3)
    setting.send_work(range(10, 13), task="work", countdown=600)
    worker = setting.worker()
    agent = worker.agent()
    eventually(lambda: len(agent.ask("status")["running"]) == 2, 10)
    answer = agent.ask("stop", drain="d-1")
    assert answer["verified"] is True
    assert answer["consuming"] == []
    assert len(answer["running"]) == 2
    assert answer["reserved"] == []
    status = eventually(lambda: (s := agent.ask("status")) and s["returning"] == 0 and s, 5)
    assert status["scheduled"] == 0
    eventually(lambda: broker.length(setting.queue) == 11, 5, "8 of 10 and 3 with an ETA are in the queue")
    eventually(lambda: len(setting.ledger.counts("end")) == 2, 10)
    assert len(setting.ledger.counts("start")) == 2
    status = eventually(lambda: (s := agent.ask("status")) and not s["running"] and s, 5)
    assert status["reserved"] == []


def test_the_order_of_the_queue_is_kept_on_redis(on_redis: Setting) -> None:
    on_redis.send_work(range(20), 2)
    worker = on_redis.worker()
    agent = worker.agent()
    eventually(lambda: len(agent.ask("status")["running"]) == 2, 10)
    agent.ask("stop", drain="d-1")
    second = on_redis.worker("w2", concurrency=1, options=("--prefetch-multiplier", "1"))
    on_redis.conf = None
    eventually(lambda: len(on_redis.ledger.numbers("start", "w2")) >= 2, 15)
    assert on_redis.ledger.numbers("start", "w2")[:2] == ["2", "3"]
    assert second.alive()


def test_resume_brings_back_exactly_the_queues_of_before(setting: Setting) -> None:
    worker = setting.worker(options=("-Q", f"{setting.queue},{setting.queue}-b"))
    agent = worker.agent()
    before = eventually(lambda: agent.ask("status")["consuming"], 10)
    agent.ask("stop", drain="d-1")
    answer = agent.ask("resume")
    assert answer["gate"] == "open"
    assert sorted(answer["consuming"]) == sorted(before) == sorted([setting.queue, f"{setting.queue}-b"])
    setting.send_work(range(6))
    eventually(lambda: len(setting.ledger.counts("end")) == 6, 10)
    assert set(setting.ledger.counts("start").values()) == {1}


def test_twenty_stops_and_resumes_under_load_run_every_task_once(setting: Setting) -> None:
    setting.send_work(range(150), 0.05)
    agent = setting.worker().agent()
    for number in range(20):
        answer = agent.ask("stop", drain=f"d-{number}")
        assert answer["verified"] is True
        assert answer["consuming"] == []
        answer = agent.ask("resume")
        assert answer.get("gate") == "open", answer
    eventually(lambda: len(setting.ledger.counts("end")) == 150, 40)
    assert set(setting.ledger.counts("start").values()) == {1}


def test_a_stop_holds_through_add_consumer_reconnects_and_pool_changes(on_redis: Setting, redis_server: Any) -> None:
    from celery import Celery

    # Without mingle: on 5.4 it dies of its own KeyError when its connection is cut.
    worker = on_redis.worker(options=("--autoscale", "4,1", "--without-mingle", "--without-gossip"))
    agent = worker.agent()
    agent.ask("stop", drain="d-1")
    app = Celery("c", broker=on_redis.broker, set_as_current=False)
    control = app.control
    on_redis.send_work(range(20))
    to = {"destination": [worker.node], "reply": True, "timeout": 3}
    for queue in (on_redis.queue, "another"):
        assert control.add_consumer(queue, **to)
    control.pool_grow(2, **to)
    control.autoscale(5, 2, **to)
    redis_server.cut_connections()
    eventually(lambda: worker.text().count("Connected to") >= 2, 20, "the worker has reconnected")
    status = eventually(lambda: (s := agent.ask("status"))["broker"] == "connected" and s, 10)
    with app.connection_for_write() as fresh:  # those of the pool were cut, too
        # Deaf for about 2 s after a reconnect (facts/celery.md 1.6): what is said then is lost.
        eventually(lambda: control.add_consumer(on_redis.queue, connection=fresh, **to), 20)
    status = eventually(lambda: (s := agent.ask("status"))["verified"] and s, 5)
    assert (status["consuming"], status["gate"]) == ([], "closed")
    assert redis_server.length() == 20
    assert on_redis.ledger.lines() == []
    assert agent.ask("resume")["consuming"] == [on_redis.queue]
    eventually(lambda: len(on_redis.ledger.counts("end")) == 20, 10)
    assert set(on_redis.ledger.counts("start").values()) == {1}


@pytest.mark.parametrize(
    "content", ['{"version": 1, "phase": "draining"}', '{"version": 1, "pha', '{"version": 99, "phase": "serving"}']
)
def test_a_worker_that_starts_while_a_drain_is_on_takes_no_message(setting: Setting, broker: Any, content: str) -> None:
    setting.send_work(range(50))
    directory = setting.folder / "dir-w1"
    directory.mkdir()
    (directory / "state.json").write_text(content)
    worker = setting.worker()
    status = worker.agent().ask("status")
    assert (status["gate"], status["consuming"], status["paused"]) == ("closed", [], [setting.queue])
    assert broker.length(setting.queue) == 50
    assert setting.ledger.lines() == []
    answer = worker.agent().ask("resume")
    assert answer["consuming"] == [setting.queue]
    eventually(lambda: len(setting.ledger.counts("end")) == 50, 15)


def test_an_empty_worker_ends_at_once_with_0(setting: Setting) -> None:
    worker = setting.worker()
    agent = worker.agent()
    agent.ask("stop", drain="d-1")
    agent.ask("watch")
    agent.ask("terminate", when="empty")
    assert worker.process.wait(3) == 0
    assert agent.read()["event"] in ("ended", "status")


def test_terminate_when_empty_waits_for_what_runs(setting: Setting) -> None:
    setting.send_work(range(2), 1.5)
    worker = setting.worker()
    running(worker, 2)
    worker.agent().ask("terminate", when="empty")
    assert worker.process.wait(10) == 0
    assert len(setting.ledger.counts("end")) == 2


def test_at_the_deadline_late_acked_tasks_run_again_elsewhere_and_early_ones_are_listed(setting: Setting) -> None:
    setting.send([("late", [1, 60, 0.1], {}), ("early", [2, 60], {})])
    worker = setting.worker()
    running(worker, 2)
    second = setting.worker("w2")
    agent = worker.agent()
    agent.ask("stop", drain="d-1")
    agent.ask("watch")
    agent.ask("terminate", when="now", code=3)
    news = agent.read()
    while news.get("event") != "ended":
        news = agent.read()
    assert worker.process.wait(5) == 3
    assert sorted((o["name"], o["outcome"]) for o in news["orphans"]) == [("early", "lost"), ("late", "handed-back")]
    eventually(lambda: setting.ledger.numbers("end", "w2") == ["1"], 5, "the late one runs again within 5 s")
    assert second.alive()
    assert setting.ledger.counts("start")["2"] == 1


def test_tasks_that_finished_before_the_kill_are_not_run_again(setting: Setting) -> None:
    """Finished in the child, its result unread by the loop: it must be acknowledged, not handed back."""
    setting.send([("late", [number, 0.4], {}) for number in range(2)])
    worker = setting.worker()
    running(worker, 2)
    agent = worker.agent()
    agent.ask("stop", drain="d-1")
    eventually(lambda: len(setting.ledger.counts("end")) == 2, 5)
    agent.ask("terminate", when="now", code=3)
    worker.process.wait(5)
    setting.worker("w2")
    setting.send_work(range(10, 12))
    eventually(lambda: len(setting.ledger.counts("end")) == 4, 10)
    assert set(setting.ledger.counts("start").values()) == {1}


def test_while_the_broker_is_away_the_gate_closes_and_status_answers(on_redis: Setting, redis_server: Any) -> None:
    worker = on_redis.worker()
    agent = worker.agent()
    redis_server.kill()
    eventually(lambda: agent.ask("status")["broker"] == "away", 10)
    answer = agent.ask("stop", drain="d-1")
    assert (answer["gate"], answer["loop"]) == ("closed", "deaf")
    redis_server.start()
    on_redis.send_work(range(10))
    status = eventually(lambda: (s := agent.ask("status"))["broker"] == "connected" and s["verified"] and s, 20)
    assert status["paused"] == [on_redis.queue]
    assert redis_server.length() == 10
    assert agent.ask("resume")["consuming"] == [on_redis.queue]
    eventually(lambda: len(on_redis.ledger.counts("end")) == 10, 10)


def test_rate_limited_messages_are_handed_back(setting: Setting, broker: Any) -> None:
    setting.send([("limited", [number], {}) for number in range(4)])
    worker = setting.worker()
    agent = worker.agent()
    eventually(lambda: len(setting.ledger.counts("end")) == 1, 10)
    agent.ask("stop", drain="d-1")
    eventually(lambda: broker.length(setting.queue) == 3, 5)


def test_a_worker_without_a_directory_works_as_if_there_were_no_agent(on_redis: Setting) -> None:
    worker = on_redis.worker(environ={"DRAINER_DIR": "/nonexistent/drainer"})
    on_redis.send_work(range(3))
    eventually(lambda: len(on_redis.ledger.counts("end")) == 3, 10)
    assert worker.alive()


def test_an_agent_that_raises_at_import_harms_nothing(on_redis: Setting) -> None:
    from drainer.sidecar.install import install_agent

    install_agent(on_redis.folder / "agent")
    (on_redis.folder / "agent/drainer_agent/boot.py").write_text("raise RuntimeError('broken')\n")
    worker = on_redis.worker()
    on_redis.send_work(range(3))
    eventually(lambda: len(on_redis.ledger.counts("end")) == 3, 10)
    assert "not loaded, the worker goes on without it" in worker.text()


def test_bad_lines_are_answered_and_change_nothing(on_redis: Setting) -> None:
    agent = on_redis.worker().agent()
    for line, code in [
        (b"not json\n", "bad-json"),
        (b'{"v": 2, "do": "stop"}\n', "bad-version"),
        (b'{"v": 1, "do": "explode"}\n', "bad-operation"),
        (b'{"v": 1, "do": "terminate", "code": 4000}\n', "bad-field"),
        (b'{"v": 1, "do": "stop", "drain": 5}\n', "bad-field"),
    ]:
        assert agent.send_raw(line)["error"]["code"] == code
    assert agent.ask("status")["gate"] == "open"


def test_children_hold_neither_the_socket_nor_the_lock(on_redis: Setting) -> None:
    worker = on_redis.worker(options=("--max-tasks-per-child", "1"))
    on_redis.send_work(range(6))
    eventually(lambda: len(on_redis.ledger.counts("end")) == 6, 15)
    children = [int(p) for p in open(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children").read().split()]
    assert children
    worker.kill()
    with pytest.raises(ConnectionRefusedError):
        import socket

        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(worker.directory / "agent.sock"))


def test_an_unauthorized_second_worker_does_not_take_the_socket(on_redis: Setting) -> None:
    first = on_redis.worker()
    second = on_redis.worker("w2", directory=first.directory)
    assert first.agent().ask("hello")["hostname"] == first.node
    assert "no socket at" in second.text()
    assert os.path.exists(first.directory / "agent.sock")


def test_status_is_small_and_holds_no_arguments(setting: Setting) -> None:
    setting.send([("work", ["marked-secret-argument", 3], {})])
    worker = setting.worker()
    agent = worker.agent()
    status = eventually(lambda: (s := agent.ask("status"))["running"] and s, 10)
    assert "marked-secret" not in json.dumps(status)
    assert set(status["running"][0]) == {"id", "name", "started", "pid", "acks_late"}


FAKE_AIRFLOW = """
import os, subprocess, sys
from tests.support.app import app, note

@app.task(name="airflow.providers.celery.executors.celery_executor_utils.execute_workload", acks_late=True)
def execute_workload(number, stubborn=False):
    # Airflow's shape: the pool child supervises one task process, which has children of its own.
    note("start", number)
    ignore = "signal.signal(15, signal.SIG_IGN);" if stubborn else ""
    grandchild = "import time; time.sleep(300)"
    code = (
        f"import signal, subprocess, sys; {ignore} "
        f"subprocess.run([sys.executable, '-c', '{grandchild}'])"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    note("reported", number)
"""


@pytest.mark.parametrize("stubborn", [False, True])
def test_at_the_deadline_airflows_task_processes_die_and_their_supervisors_report(
    on_redis: Setting, redis_server: Any, stubborn: bool
) -> None:
    """Never the pool child: it reports. Never a hand back: the retry is Airflow's."""
    (on_redis.folder / "fakeairflow.py").write_text(FAKE_AIRFLOW)
    name = "airflow.providers.celery.executors.celery_executor_utils.execute_workload"
    on_redis.send([(name, [1, stubborn], {})])
    on_redis.conf = {"include": ["fakeairflow"]}
    from tests.support.worker import ROOT

    environ = {"PYTHONPATH": f"{on_redis.folder}/agent:{on_redis.folder}:{ROOT}"}
    worker = on_redis.worker(environ=environ)
    agent = worker.agent()
    assert agent.ask("hello")["app"] == "airflow"
    status = eventually(lambda: (s := agent.ask("status"))["running"] and s, 10)
    supervisor = status["running"][0]["pid"]
    tree = eventually(lambda: len(t := descendants(supervisor)) == 2 and t, 10)
    agent.ask("stop", drain="d-1")
    agent.ask("watch")
    agent.ask("terminate", when="now", code=3, grace=1)
    news = agent.read()
    while news.get("event") != "ended":
        news = agent.read()
    assert worker.process.wait(10) == 3
    assert [orphan["outcome"] for orphan in news["orphans"]] == ["airflow-retries"]
    assert on_redis.ledger.numbers("reported") == ["1"]
    assert (redis_server.length(), redis_server.unacked()) == (0, 0)
    if stubborn:
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in tree), 5, "no descendant is left")


def descendants(pid: int) -> list[int]:
    from drainer.agent.proc import descendants as found

    return found(pid)
