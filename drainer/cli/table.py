"""A live table of one worker, for a terminal."""

from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from drainer.cli import render

_COLOURS = {"serving": "green", "draining": "yellow", "drained": "cyan", "expired": "red"}


class Table:
    """Shows the newest status in place."""

    def __init__(self) -> None:
        self._live = Live(refresh_per_second=8)

    def __enter__(self) -> "Table":
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def __call__(self, status: dict[str, Any]) -> None:
        self._live.update(picture(status), refresh=True)


def picture(status: dict[str, Any]) -> Group:
    """The status as something rich can draw."""
    head = Text.assemble(
        (status["phase"], f"bold {_COLOURS[status['phase']]}"), render.headline(status)[len(status["phase"]) :]
    )
    tasks = RichTable(box=None, pad_edge=False, header_style="dim")
    for column in ("task", "id", "running for", "if cut off"):
        tasks.add_column(column)
    for task in status["running"]:
        fate = {True: "runs again", False: "is lost", None: "?"}[task["acks_late"]]
        tasks.add_row(render.task_name(task), task["id"], render.seconds(task["elapsed_seconds"]), fate)
    parts: list[Any] = [head, Text(render.worker_line(status), style="dim")]
    if status["running"]:
        parts.append(tasks)
    for orphan in (status["drain"] or {}).get("orphans", []):
        parts.append(Text(f"cut off: {render.task_name(orphan)} {orphan['id']} ({orphan['outcome']})", style="red"))
    for problem in status["problems"]:
        parts.append(Text(f"{problem['code']}: {problem['detail']}. {problem['advice']}", style="magenta"))
    return Group(*parts)
