"""`drainer status`."""

import click

from drainer.cli import options, render
from drainer.client.http import Client
from drainer.client.target import resolve


@click.command()
@options.target
@click.option("-w", "--watch", is_flag=True, help="Go on showing changes until Ctrl-C.")
def command(target: str | None, token_file: str | None, output: str, watch: bool) -> int:
    """Show a worker, its drain and its tasks.

    TARGET is a directory, a URL, or the name of a `drainer run`; by default the only
    sidecar on this machine.
    """
    client = Client(resolve(target), token_file)
    if watch:
        from drainer.cli.watching import follow

        return follow(client, output, lambda status: False, live=True)
    status = client.status()
    if output == "json":
        options.echo_json(status)
    else:
        click.echo("\n".join(render.lines(status)))
    return 0
