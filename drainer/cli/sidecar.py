"""`drainer sidecar`."""

import asyncio

import click

from drainer import logs
from drainer.cli.flags import settings
from drainer.settings import load


@click.command()
@settings()
def command(**flags: str | None) -> int:
    """Watch over the worker that shares a directory; drain it on request or SIGTERM.

    Exits 0 when the worker was drained, 3 when the deadline cut something off.
    """
    chosen = load(flags)
    logs.configure(chosen.log_format, chosen.log_level)
    from drainer.sidecar.main import run_sidecar

    return asyncio.run(run_sidecar(chosen))
