"""Follow a drain: timestamped lines, or a live table on a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from drainer.cli import exits, options, render
from drainer.client.http import Client
from drainer.errors import Unreachable

Status = dict[str, Any]


def follow(
    client: Client, output: str, done: Callable[[Status], bool], live: bool, timeout: float | None = None
) -> int:
    """Show changes until `done`; the exit code tells the verdict.

    Ctrl-C stops the watching and not the drain, and says so.
    """
    end = None if timeout is None else time.monotonic() + timeout
    show = _shower(output, live)
    last: Status | None = None
    try:
        with show:
            for status in _statuses(client, end):
                last = status
                show(status)
                if done(status):
                    break
            else:
                return _ended_early(last, done, end)
    except KeyboardInterrupt:
        click.echo("stopped watching; the drain goes on (drainer cancel ends it)", err=True)
        return exits.INTERRUPTED
    return verdict(last)


def verdict(status: Status | None) -> int:
    return exits.EXPIRED if status is not None and status["phase"] == "expired" else exits.OK


def _statuses(client: Client, end: float | None) -> Iterator[Status]:
    """Statuses until the sidecar ends, or until `end` (monotonic seconds)."""
    while True:
        wait = 40.0 if end is None else min(40.0, max(0.05, end - time.monotonic()))
        try:
            yield from client.events(wait)
            return
        except TimeoutError:
            if end is not None and time.monotonic() >= end:
                return


def _ended_early(last: Status | None, done: Callable[[Status], bool], end: float | None) -> int:
    if end is not None and time.monotonic() >= end:
        click.echo("still draining: the time to wait is over, the drain goes on", err=True)
        return exits.TIMED_OUT
    if last is not None and last["released"]:
        return verdict(last)
    raise Unreachable("the sidecar ended while it was watched")


def _shower(output: str, live: bool) -> "_Lines | _Json | Any":
    if output == "json":
        return _Json()
    if live and sys.stdout.isatty():
        try:
            from drainer.cli.table import Table

            return Table()
        except ModuleNotFoundError:
            click.echo("(pip install rich for a live table)", err=True)
    return _Lines()


class _Json:
    """One status a line."""

    def __enter__(self) -> "_Json":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, status: Status) -> None:
        options.echo_json(status)


class _Lines:
    """One line for each new fact."""

    def __init__(self) -> None:
        self._events: set[tuple[str, str, str]] = set()
        self._running: int | None = None
        self._first = True

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, status: Status) -> None:
        drain = status["drain"]["id"] if status["drain"] else None
        for record in status["history"]:
            key = (record["at"], record["event"], record["detail"])
            if key in self._events:
                continue
            self._events.add(key)
            if self._first and record["drain"] != drain:
                continue
            why = f": {record['detail']}" if record["detail"] else ""
            by = "" if record["by"] == "drainer" else f" by {record['by']}"
            click.echo(f"{render.clock(record['at'])} {record['event']}{by}{why}")
        self._first = False
        if status["phase"] == "draining" and len(status["running"]) != self._running:
            self._running = len(status["running"])
            names = ", ".join(render.task_name(task) for task in status["running"][:3])
            more = f" and {self._running - 3} more" if self._running > 3 else ""
            what = f"{self._running} running" + (f": {names}{more}" if names else "")
            click.echo(f"{render.clock(status['now'])} {what}")
        if status["released"] and status["drain"]:
            for orphan in status["drain"]["orphans"]:
                click.echo(
                    f"{render.clock(status['now'])} cut off: "
                    f"{render.task_name(orphan)} {orphan['id']} ({orphan['outcome']})"
                )
