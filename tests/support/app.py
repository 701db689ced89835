"""The Celery app of the tests; everything about it comes from the environment."""

import json
import os
import time

from celery import Celery

app = Celery("app", broker=os.environ["TEST_BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    task_default_queue=os.environ.get("TEST_QUEUE", "celery"),
    **json.loads(os.environ.get("TEST_CONF", "{}")),
)
if os.environ.get("TEST_QUORUM"):
    from tests.support.worker import quorum_queue

    app.conf.task_queues = [quorum_queue(app.conf.task_default_queue, int(os.environ["TEST_QUORUM"]))]
    app.conf.worker_detect_quorum_queues = True


def note(what: str, number: object) -> None:
    """One line, one append: whole, whoever else writes."""
    descriptor = os.open(os.environ["TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{what} {number} {os.environ.get('TEST_WORKER', '?')} {time.time():.4f}\n".encode())
    finally:
        os.close(descriptor)


@app.task(name="work")
def work(number, seconds=0.0, again=None, **secrets):
    """Take some time; `again` is the time of a second run."""
    runs = 0
    if again is not None:
        with open(os.environ["TEST_LEDGER"]) as ledger:
            runs = sum(1 for line in ledger if line.split()[:2] == ["start", str(number)])
    note("start", number)
    time.sleep(again if runs else seconds)
    note("end", number)


@app.task(name="early", acks_late=False)
def early(number, seconds=0.0):
    note("start", number)
    time.sleep(seconds)
    note("end", number)


@app.task(name="late", acks_late=True)
def late(number, seconds=0.0, again=None):
    work.run(number, seconds, again)


@app.task(name="limited", rate_limit="1/h")
def limited(number):
    note("start", number)
    note("end", number)


@app.task(name="child")
def child(number, seconds):
    """Leaves a subprocess behind when it is killed alone."""
    import subprocess

    note("start", number)
    subprocess.run(["sleep", str(seconds)], check=False)
    note("end", number)
