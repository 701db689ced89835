"""A status as plain text."""

from datetime import datetime
from typing import Any

from drainer.core.durations import format_duration


def clock(text: str | None) -> str:
    """HH:MM:SS of an RFC 3339 instant, in the local zone."""
    if text is None:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S")


def seconds(value: float | None) -> str:
    """Whole seconds, or tenths below ten."""
    if value is None:
        return "-"
    return f"{value:.1f}s" if abs(value) < 10 else format_duration(round(value))


def headline(status: dict[str, Any]) -> str:
    """One line: phase, drain, deadline."""
    drain = status["drain"]
    if drain is None:
        return str(status["phase"])
    words = [status["phase"] + (", released" if status["released"] else "")]
    words.append(f"{drain['id']} by {drain['by']}" + (f" ({drain['reason']})" if drain["reason"] else ""))
    if status["phase"] == "draining":
        if drain["deadline"] is None:
            words.append("no deadline")
        else:
            words.append(f"deadline {clock(drain['deadline'])}, in {seconds(max(0.0, drain['remaining_seconds']))}")
    return " · ".join(words)


def worker_line(status: dict[str, Any]) -> str:
    """One line about the worker."""
    worker, work = status["worker"], status["work"]
    if worker["name"] is None:
        return "not seen yet"
    words = [worker["name"], f"{worker['pool'] or '?'} x {worker['concurrency'] or '?'}", f"link {worker['link']}"]
    if work is None:
        words.append(f"no answer since {clock(worker['last_contact'])}")
    else:
        words.append("stopped" if work["stopped"] else "consuming " + (", ".join(work["consuming"]) or "nothing"))
        if work["broker"] == "away":
            words.append("broker away")
        words.append(f"{work['running']} running, {work['reserved']} reserved")
        if work["scheduled"]:
            words.append(f"{work['scheduled']} scheduled")
        if work["returned"]:
            words.append(f"{work['returned']} handed back")
    return " · ".join(words)


def task_name(task: dict[str, Any]) -> str:
    """What a person calls the task: Airflow's identity where there is one."""
    airflow = task.get("airflow")
    if not airflow:
        return str(task["name"])
    index = "" if airflow["map_index"] in (None, -1) else f"[{airflow['map_index']}]"
    attempt = "" if airflow["try_number"] is None else f" try {airflow['try_number']}"
    return f"{airflow['dag_id']}.{airflow['task_id']}{index} {airflow['run_id']}{attempt}"


def lines(status: dict[str, Any]) -> list[str]:
    """The whole status as lines."""
    found = [f"phase    {headline(status)}", f"worker   {worker_line(status)}"]
    for task in status["running"]:
        found.append(f"running  {task['id']}  {seconds(task['elapsed_seconds']):>8}  {task_name(task)}")
    for orphan in (status["drain"] or {}).get("orphans", []):
        found.append(
            f"orphan   {orphan['id']}  {seconds(orphan['elapsed_seconds']):>8}  "
            f"{task_name(orphan)}  {orphan['outcome']}"
        )
    for limit in status["worker"]["limits"]:
        found.append(f"limit    {limit}")
    for problem in status["problems"]:
        found.append(f"problem  {problem['code']}: {problem['detail']}")
        found.append(f"         {problem['advice']}")
    return found
