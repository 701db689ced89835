"""`drainer wait`."""

import click

from drainer.cli import options
from drainer.cli.watching import follow
from drainer.client.http import Client
from drainer.client.target import resolve
from drainer.core.durations import parse_duration
from drainer.core.refusals import refuse


@click.command()
@options.target
@click.option("--timeout", metavar="DURATION", help="Wait no longer than this; exit 75.")
def command(target: str | None, token_file: str | None, output: str, timeout: str | None) -> int:
    """Wait until a drain has ended: exit 0 when everything finished, 3 when not."""
    try:
        limit = None if timeout is None else parse_duration(timeout)
    except ValueError as exc:
        raise click.UsageError(f"--timeout: {exc}") from exc
    client = Client(resolve(target), token_file)
    if client.status()["phase"] == "serving":
        raise refuse("nothing-drains", "there is no drain to wait for")
    return follow(
        client, output, lambda now: bool(now["released"]) or now["phase"] == "serving", live=False, timeout=limit
    )
