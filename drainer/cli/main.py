"""The `drainer` command."""

import importlib
import sys
from typing import Any, NoReturn

import click

from drainer import __version__
from drainer.cli import exits
from drainer.errors import DrainerError, SettingsError

#: command: (module, one line for the help), in the order of the help.
COMMANDS = {
    "run": ("drainer.cli.run", "Run a Celery worker that drains on SIGTERM."),
    "sidecar": ("drainer.cli.sidecar", "Watch over the worker that shares a directory."),
    "drain": ("drainer.cli.drain", "Drain a worker: stop consuming, let its tasks finish."),
    "status": ("drainer.cli.status", "Show a worker, its drain and its tasks."),
    "extend": ("drainer.cli.extend", "Move the deadline of a drain."),
    "cancel": ("drainer.cli.cancel", "Cancel a drain: the worker consumes again."),
    "wait": ("drainer.cli.wait", "Wait until a drain has its verdict."),
    "force": ("drainer.cli.force", "End a drain now; what runs is cut off."),
    "agent": ("drainer.cli.agent", "The agent's code, for workers."),
    "demo": ("drainer.cli.demo", "A deploy under load, in half a minute, without any server."),
}


class Lazy(click.Group):
    """Imports a command's module only when that command is used: `status` must be quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        try:
            command = importlib.import_module(COMMANDS[name][0]).command
        except ModuleNotFoundError as exc:
            if exc.name is None or exc.name.startswith("drainer"):
                raise
            extra = {"demo": "demo", "run": "sidecar", "sidecar": "sidecar"}.get(name, "sidecar")
            raise DrainerError(f"{name} needs {exc.name}", f"pip install 'drainer[{extra}]'") from exc
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="drainer")
def cli() -> None:
    """Drain Celery workers: a deploy stops them at once and harms no task."""


def main() -> NoReturn:
    """Entry point: every error is an answer, with a documented exit code."""
    sys.exit(run(cli))


def run(command: Any, args: list[str] | None = None) -> int:
    """Run `command` and return its exit code."""
    try:
        result = command.main(args=args, standalone_mode=False, prog_name="drainer")
    except SettingsError as exc:
        for problem in exc.problems:
            click.echo(f"drainer: {problem}", err=True)
        return exc.exit_code
    except DrainerError as exc:
        click.echo(f"drainer: {exc}" + (f"\n  {exc.hint}" if exc.hint else ""), err=True)
        return exc.exit_code
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.exceptions.Abort:
        return exits.INTERRUPTED
    except click.ClickException as exc:
        exc.show()
        return exits.USAGE if isinstance(exc, click.UsageError) else exits.FAILED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        return exits.OK
    return result if isinstance(result, int) else exits.OK
