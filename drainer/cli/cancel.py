"""`drainer cancel`."""

import click

from drainer.cli import options
from drainer.client.http import Client
from drainer.client.target import resolve


@click.command()
@options.target
@options.who
def command(target: str | None, token_file: str | None, output: str, by: str, reason: str) -> int:
    """Cancel a drain: the worker consumes again, from the queues of before."""
    client = Client(resolve(target), token_file)
    status = client.request("DELETE", "/v1/drain", {"by": by, "reason": reason})
    if output == "json":
        options.echo_json(status)
    else:
        click.echo("cancelled: the worker goes back to consuming")
    return 0
