"""`drainer agent install`."""

from pathlib import Path

import click

from drainer.errors import DirectoryUnusable
from drainer.sidecar.install import PACKAGE, install_agent


@click.group()
def command() -> None:
    """The agent's code, for workers."""


@command.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def install(directory: Path) -> int:
    """Put the agent's code into DIRECTORY, for a worker to load by configuration."""
    try:
        path = install_agent(directory)
    except OSError as exc:
        raise DirectoryUnusable(f"{directory}: {exc.strerror}") from exc
    click.echo(f"installed {path}")
    click.echo("start the worker with:")
    click.echo(f"  PYTHONPATH={directory.absolute()} CELERY_WORKER_INCLUDE={PACKAGE} celery -A yourapp worker")
    return 0
