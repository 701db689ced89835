"""No argument, token or password anywhere: everything at debug level, every output searched."""

import json
from pathlib import Path
from typing import Any

import pytest

from drainer.core.codec import decode_state
from tests.support.waiting import eventually
from tests.support.worker import Setting

MARK = "marked-s3cret"


def every_text(folder: Path) -> dict[str, str]:
    """All files under `folder` but the ledger, the broker's and Celery's own log lines."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "ledger" and "beat" not in path.name:
            found[str(path)] = path.read_text(errors="replace")
    return found


def own_lines(text: str) -> str:
    """Celery's own "received" line shows arguments by its own design; ours never."""
    return "\n".join(line for line in text.splitlines() if "drainer" in line)


@pytest.mark.parametrize(
    ("pool", "link"), [("prefork", "agent"), ("threads", "agent"), ("solo", "agent"), ("prefork", "pidbox")]
)
def test_marked_secrets_are_nowhere(on_redis: Setting, pool: str, link: str, tmp_path: Path) -> None:
    on_redis.send(
        [("work", [f"{MARK}-arg", 1.5], {"kwargs": {"password": f"{MARK}-kw"}, "headers": {"x": f"{MARK}-header"}})] * 6
    )
    token = tmp_path / "token"
    token.write_text(f"{MARK}-token\n")
    worker = on_redis.worker(pool=pool, level="debug", agent=link == "agent")
    broker = on_redis.broker.replace("redis://", f"redis://:{MARK}-password@") if link == "none" else on_redis.broker
    flags = ("--link", link, "--log-level", "debug", "--token-file", str(token), "--listen", "127.0.0.1:0")
    sidecar = on_redis.sidecar(worker.directory, *flags, environ={"DRAINER_BROKER_URL": broker})
    answers: list[Any] = [sidecar.until(lambda s: s["running"] or pool == "solo", 20)]
    if link == "agent":
        agent = worker.agent()
        for do in ("hello", "status", "watch"):
            answers.append(agent.ask(do))
    answers.append(sidecar.drain(reason="deploy", timeout="1h"))
    answers.append(next(sidecar.client.events(10)))
    answers.append(sidecar.until(lambda s: s["released"], 40))
    import http.client
    import re

    port = int(re.findall(r'"address": "127.0.0.1:(\d+)"', sidecar.text())[-1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    assert "drainer_drain_seconds" in metrics
    assert MARK not in metrics
    assert MARK not in json.dumps(answers)
    texts = every_text(on_redis.folder)
    state = texts[str(worker.directory / "state.json")]
    assert decode_state(json.loads(state)).has_verdict
    for name, text in texts.items():
        assert MARK not in (own_lines(text) if name.endswith("w1.log") else text), name


def test_airflows_identity_is_shown_and_its_token_never(on_redis: Setting) -> None:
    """A task with Airflow 3's name and message: the JWT is the first field of its argument."""
    (on_redis.folder / "fakeairflow.py").write_text(
        "import time\n"
        "from tests.support.app import app\n"
        "@app.task(name='airflow.providers.celery.executors.celery_executor_utils.execute_workload')\n"
        "def execute_workload(text):\n    time.sleep(3)\n"
    )
    instance = {"id": "x", "dag_id": "sales", "task_id": "load", "run_id": "r1", "try_number": 2, "map_index": 3}
    workload = {"token": f"{MARK}-jwt", "ti": instance, "type": "ExecuteTask"}
    name = "airflow.providers.celery.executors.celery_executor_utils.execute_workload"
    on_redis.send([(name, [json.dumps(workload)], {})])
    from tests.support.worker import ROOT

    environ = {"PYTHONPATH": f"{on_redis.folder}/agent:{on_redis.folder}:{ROOT}"}
    on_redis.conf = {"include": ["fakeairflow"]}
    worker = on_redis.worker(environ=environ)
    sidecar = on_redis.sidecar(worker.directory)
    status = sidecar.until(lambda s: s["running"], 20)
    expected = {"dag_id": "sales", "task_id": "load", "run_id": "r1", "try_number": 2, "map_index": 3}
    assert status["running"][0]["airflow"] == expected
    assert MARK not in json.dumps(status) + sidecar.text()
    eventually(lambda: not (sidecar.status() or {"running": [1]})["running"], 10)
