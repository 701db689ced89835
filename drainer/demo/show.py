"""What a person sees of the demo: a live table on a terminal, lines elsewhere."""

import time
from typing import Any

import click

from drainer.demo.ledger import Tally

Row = tuple[str, dict[str, Any] | None, int | None]


class Show:
    """Plain timestamped lines."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._phases: dict[str, str] = {}

    def __enter__(self) -> "Show":
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def stamp(self) -> str:
        return f"{time.monotonic() - self._start:5.1f}s"

    def say(self, text: str) -> None:
        click.echo(f"{self.stamp()}  {text}")

    def picture(self, rows: list[Row], tally: Tally) -> None:
        for version, status, code in rows:
            phase = phase_of(status, code)
            if self._phases.get(version) != phase:
                self._phases[version] = phase
                click.echo(f"{self.stamp()}  {version}: {phase}{_work(status, code)}")


class LiveShow(Show):
    """A table that changes in place, the story's lines above it."""

    def __init__(self) -> None:
        super().__init__()
        from rich.live import Live

        self._live = Live(refresh_per_second=10)

    def __enter__(self) -> "LiveShow":
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def say(self, text: str) -> None:
        self._live.console.print(f"[dim]{self.stamp()}[/dim]  {text}", highlight=False)

    def picture(self, rows: list[Row], tally: Tally) -> None:
        from rich.table import Table

        table = Table(title=None, header_style="dim")
        for column in ("worker", "phase", "running", "reserved", "handed back", "finished"):
            table.add_column(column, justify="left" if column in ("worker", "phase") else "right")
        colours = {"serving": "green", "draining": "yellow", "starting": "dim"}
        for version, status, code in rows:
            phase = phase_of(status, code)
            work = (status or {}).get("work") or {}
            gone = code is not None
            colour = colours.get(phase.split()[0], "cyan" if code == 0 else "red")
            table.add_row(
                version,
                f"[{colour}]{phase}[/{colour}]",
                "-" if gone else str(work.get("running", "-")),
                "-" if gone else str(work.get("reserved", "-")),
                str(work.get("returned") or "-"),
                str(tally.by_version.get(version, 0)),
            )
        table.caption = f"sent {tally.sent} · finished {tally.finished} · started again {tally.run_again}"
        self._live.update(table, refresh=True)


def phase_of(status: dict[str, Any] | None, code: int | None) -> str:
    """A word or two for where a worker stands."""
    if code is not None:
        return {0: "drained, gone", 3: "expired, gone"}.get(code, f"gone ({code})")
    if status is None or status["worker"]["name"] is None:
        return "starting"
    phase = str(status["phase"])
    if phase == "draining" and status["work"] and status["work"]["stopped"]:
        return "draining (stopped)"
    return phase


def _work(status: dict[str, Any] | None, code: int | None) -> str:
    if status is None or not status.get("work") or code is not None:
        return ""
    work = status["work"]
    handed = f", {work['returned']} handed back" if work["returned"] else ""
    return f" ({work['running']} running, {work['reserved']} reserved{handed})"


def closing(tally: Tally) -> str:
    """The count at the end, for people."""
    again = f"  (cut off at a deadline and run again: {tally.run_again})" if tally.run_again else ""
    return (
        f"sent {tally.sent}  finished {tally.finished}  "
        f"lost {tally.lost}  finished twice {tally.finished_twice}{again}\n"
        + ("every task ran once and only once" if tally.good else "THAT IS NOT GOOD: see above")
    )
