"""The demo's Celery app: tasks that write down when they start and end."""

import os
import time

from celery import Celery

app = Celery("demo", broker=os.environ.get("DRAINER_DEMO_BROKER", "redis://127.0.0.1:6379/0"))
app.conf.update(
    task_acks_late=True,  # as Airflow does
    task_ignore_result=True,
    task_default_queue=os.environ.get("DRAINER_DEMO_QUEUE", "drainer-demo"),
    worker_prefetch_multiplier=2,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"polling_interval": 0.2},  # how long a BRPOP lasts, too
)


@app.task(name="demo.work")  # type: ignore[untyped-decorator]
def work(number: int, seconds: float, again: float | None = None) -> None:
    """Take `seconds`; when run again, take `again` seconds instead."""
    from drainer.demo.ledger import Ledger

    ledger = Ledger(os.environ["DRAINER_DEMO_LEDGER"])
    earlier = ledger.starts(number) if again is not None else 0
    ledger.write("start", number, os.environ["DRAINER_DEMO_VERSION"])
    time.sleep(again if again is not None and earlier else seconds)
    ledger.write("end", number, os.environ["DRAINER_DEMO_VERSION"])
