"""Airflow's identity of a task seen by `inspect active`, by the agent's own reader."""

from types import SimpleNamespace
from typing import Any

from drainer.agent import airflow


def identity(name: str, args: Any) -> dict[str, Any] | None:
    """The task instance behind Celery's `args`, or None; nothing else of them."""
    found: dict[str, Any] | None = airflow.identity(SimpleNamespace(name=name, args=args))
    return found
