"""`drainer run`."""

import asyncio
import os
import shutil

import click

from drainer import logs
from drainer.cli import exits
from drainer.cli.flags import settings
from drainer.client.target import is_served, runs_directory
from drainer.errors import DirectoryTaken, DirectoryUnusable, DrainerError
from drainer.settings import load


@click.command(context_settings={"ignore_unknown_options": True})
@settings("dir", "end_worker", "intent_file", "agent_wait")
@click.option("--name", help="Name of this run, for `drainer status NAME`; default: its process id.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True, metavar="-- COMMAND")
def command(command: tuple[str, ...], name: str | None, **flags: str | None) -> int:
    """Run a Celery worker that drains on SIGTERM.

    COMMAND is started with the agent, in a private directory. SIGTERM drains it: it stops
    consuming, its tasks finish, it exits 0. A second SIGTERM, or the deadline, cuts off what
    runs: exit 3. Else the exit code is the worker's own (128 + n for a signal).
    """
    name = name or str(os.getpid())
    if "/" in name or name.startswith("."):
        raise click.UsageError("--name: must be a plain name")
    directory = runs_directory() / name
    if flags.get("listen") is None and "DRAINER_LISTEN" not in os.environ:
        flags["listen"] = "none"  # no fixed port: several on one machine
    chosen = load(flags, dir=directory, end_worker=True, intent_file=None, agent_wait=10.0)
    if shutil.which(command[0]) is None:
        error = DrainerError(f"there is no command {command[0]}")
        error.exit_code = exits.NO_COMMAND
        raise error
    if is_served(directory):
        raise DirectoryTaken(f"a run named {name} is on already", "choose another --name")
    logs.configure(chosen.log_format, chosen.log_level)
    _tidy()
    from drainer.sidecar.supervise import supervise

    shutil.rmtree(directory, ignore_errors=True)
    try:
        return asyncio.run(supervise(chosen, command))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _tidy() -> None:
    """Private directories, and away with those of runs that were killed."""
    runs = runs_directory()
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    if runs.is_symlink() or runs.stat().st_uid != os.getuid():
        raise DirectoryUnusable(f"{runs} belongs to somebody else", "set XDG_RUNTIME_DIR to a directory of your own")
    for path in runs.iterdir():
        if path.is_dir() and not is_served(path):
            shutil.rmtree(path, ignore_errors=True)
