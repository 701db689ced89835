"""The settings' fields as flags."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from drainer.settings import SidecarSettings, default_text, variable

F = TypeVar("F", bound=Callable[..., Any])


def settings(*left_out: str) -> Callable[[F], F]:
    """A flag for every setting but `left_out`. Parsing is `settings.load`'s: all problems at once."""

    def decorate(function: F) -> F:
        for setting in reversed(fields(SidecarSettings)):
            if setting.name in left_out or setting.name == "broker_url":  # a password: no flag
                continue
            default = default_text(setting.name)
            text = setting.metadata["help"] + (
                f" [{variable(setting.name)}; default {default}]" if default else f" [{variable(setting.name)}]"
            )
            function = click.option(f"--{setting.name.replace('_', '-')}", setting.name, help=text)(function)
        return function

    return decorate
