"""`drainer force`."""

import click

from drainer.cli import options
from drainer.cli.watching import follow
from drainer.client.http import Client
from drainer.client.target import resolve


@click.command()
@options.target
@options.who
@click.option("--no-wait", is_flag=True, help="Return at once.")
def command(target: str | None, token_file: str | None, output: str, by: str, reason: str, no_wait: bool) -> int:
    """End a drain now, as if its deadline had passed: what runs is cut off and listed.

    Exits 3: tasks may have been cut off.
    """
    client = Client(resolve(target), token_file)
    status = client.request("POST", "/v1/force", {"by": by, "reason": reason})
    if no_wait:
        if output == "json":
            options.echo_json(status)
        else:
            click.echo("forced")
        return 0
    return follow(client, output, lambda now: bool(now["released"]), live=True)
