"""`-v`: the one switch that every command understands, before or after the command's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Verbosity:
    """Whether tracebacks and the debug log are wanted.  The object of the click context."""

    verbose: bool = False


def verbose_option(command: F) -> F:
    """Add `-v/--verbose` to a command."""
    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_remember,
        help="Show tracebacks, and log at debug level.",
    )(command)


def is_verbose() -> bool:
    """Tell whether `-v` stood anywhere in the command that runs."""
    return click.get_current_context().ensure_object(Verbosity).verbose


def _remember(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's callback
    if value:
        context.ensure_object(Verbosity).verbose = True
