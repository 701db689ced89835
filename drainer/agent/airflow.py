"""Airflow's identity of a running request, without any of its arguments.

Airflow 3 sends ``execute_workload`` with one JSON string that holds a JWT beside the task
instance; Airflow 2 sends ``execute_command`` with a command line (facts/airflow.md).
Only the fields named in `FIELDS` leave this file.
"""

import json

FIELDS = ("dag_id", "task_id", "run_id", "try_number", "map_index")

#: Celery task names of Airflow 3 and 2, by their last part.
WORKLOAD, COMMAND = "execute_workload", "execute_command"


def identity(request):
    """The task instance of `request` as a dict of `FIELDS`, or None.

    None for whatever isn't an Airflow task instance (a plain task, a callback workload) or
    can't be read: such a request still counts as running.
    """
    kind = (request.name or "").rsplit(".", 1)[-1]
    if kind not in (WORKLOAD, COMMAND):
        return None
    try:
        args = request.args
        found = _workload(args[0]) if kind == WORKLOAD else _command(args[0])
    except Exception:
        return None
    return found


def _workload(text):
    instance = json.loads(text).get("ti")
    if not isinstance(instance, dict):
        return None
    return {
        "dag_id": _text(instance.get("dag_id")),
        "task_id": _text(instance.get("task_id")),
        "run_id": _text(instance.get("run_id")),
        "try_number": _number(instance.get("try_number")),
        "map_index": _number(instance.get("map_index")),
    }


def _command(words):
    if list(words[:3]) != ["airflow", "tasks", "run"]:
        return None
    rest = words[3:]
    found = {
        "dag_id": _text(rest[0]),
        "task_id": _text(rest[1]),
        "run_id": _text(rest[2]),
        "try_number": None,  # Airflow 2 keeps it in its database only
        "map_index": -1,
    }
    if "--map-index" in rest:
        found["map_index"] = _number(rest[rest.index("--map-index") + 1])
    return found


def _text(value):
    return value[:250] if isinstance(value, str) else None


def _number(value):
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def is_airflow(app):
    """Whether `app` is Airflow's Celery app: it registers Airflow's own tasks."""
    return any(name.rsplit(".", 1)[-1] in (WORKLOAD, COMMAND) and "airflow" in name for name in app.tasks)
