"""The settings as a command is given them: the options that name a file and lay single values over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(command: F) -> F:
    """Add `--config` and `--set` to a command."""
    config = click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        help="The settings file.  [default: $STANCHION_CONFIG, then ./stanchion.toml, then none]",
    )
    several = click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help="One setting over the file and the environment, as retry.attempts=5.  May be repeated.",
    )
    return config(several(command))


def flags_of(sets: tuple[str, ...], **options: object) -> dict[str, Any]:
    """Return the settings that flags name: {"retry.attempts": "5"}.  `gateway__port=1` is `gateway.port`."""
    flags: dict[str, Any] = {}
    for each in sets:
        key, equals, value = each.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{each!r} must be KEY=VALUE, as retry.attempts=5", param_hint="--set")
        flags[key.strip()] = value.strip()
    flags |= {name.replace("__", "."): value for name, value in options.items() if value is not None}
    return flags
