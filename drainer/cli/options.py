"""Options that several commands share."""

import getpass
import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def target(function: F) -> F:
    """TARGET, --token-file and -o, as for every command that speaks to a sidecar."""
    for decorate in (
        click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output."),
        click.option("--token-file", help="File with the bearer token, for a URL.", envvar="DRAINER_TOKEN_FILE"),
        click.argument("target", required=False, metavar="[TARGET]"),
    ):
        function = decorate(function)
    return function


def who(function: F) -> F:
    """--by and -m, as for every order."""
    for decorate in (
        click.option("-m", "--reason", default="", help="Why; shown in the status and the history."),
        click.option("--by", default=_me, help="Who asks; default: this user."),
    ):
        function = decorate(function)
    return function


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "cli"


def echo_json(values: Any) -> None:
    """One JSON document on one line: it can be piped and read line by line."""
    click.echo(json.dumps(values))
