"""`drainer extend`."""

import click

from drainer.cli import options, render
from drainer.cli.drain import deadline_body
from drainer.client.http import Client
from drainer.client.target import resolve


@click.command()
@options.target
@options.who
@click.option("--deadline", metavar="24h|INSTANT", help="From now on, how long, or until when.")
@click.option("--no-deadline", is_flag=True, help="Wait for the tasks however long they take.")
def command(
    target: str | None,
    token_file: str | None,
    output: str,
    by: str,
    reason: str,
    deadline: str | None,
    no_deadline: bool,
) -> int:
    """Move the deadline of a drain, either way; never starts one."""
    body = deadline_body(deadline, no_deadline)
    if not body:
        raise click.UsageError("say until when: --deadline 2h, --deadline 2026-11-23T03:00:00Z or --no-deadline")
    client = Client(resolve(target), token_file)
    status = client.request("PATCH", "/v1/drain", {"by": by, "reason": reason, **body})
    if output == "json":
        options.echo_json(status)
    else:
        click.echo(render.headline(status))
    return 0
