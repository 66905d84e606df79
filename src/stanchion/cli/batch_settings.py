"""The settings that a job runs with, and what is known of its models."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import click

from stanchion.cli.given import flags_of
from stanchion.cli.standin import ADVICE, StandIn
from stanchion.cli.verbosity import is_verbose
from stanchion.core.errors import StanchionError
from stanchion.engine.config import Loaded, load
from stanchion.engine.model_facts import Models
from stanchion.observe.logs import set_up
from stanchion.rules.pricing import MILLION


@contextlib.contextmanager
def settings_for_job(config: Path | None, sets: tuple[str, ...], price_as: str) -> Generator[Loaded]:
    """Read the settings; without a provider the built-in simulator stands in, and that is said."""
    if is_verbose():
        set_up("debug", json=False)
    else:
        logging.getLogger().addHandler(logging.NullHandler())
    flags = flags_of(sets)
    stand_in = StandIn()
    try:
        loaded = stand_in.read(config, flags)
        if price_as:
            loaded = stand_in.read(config, {**flags, **_price_flags(loaded, price_as)})
        if loaded.simulated:
            click.echo(f"no provider is configured, so the built-in simulator answers; {ADVICE}", err=True)
        yield loaded
    finally:
        stand_in.close()


def settings_to_look(config: Path | None, sets: tuple[str, ...], price_as: str) -> Loaded:
    """Read the settings for who asks nobody: no simulator is started."""
    flags = flags_of(sets)
    if load(config, flags=flags).simulated:
        flags |= {
            "providers.simulator.preset": "simulator",
            "providers.simulator.base_url": "http://127.0.0.1:9/v1",
        }
    loaded = load(config, flags=flags)
    return load(config, flags={**flags, **_price_flags(loaded, price_as)}) if price_as else loaded


def job_flags(loaded: Loaded, sets: tuple[str, ...], price_as: str) -> dict[str, Any]:
    """Return the settings that are laid over the file: what another process must be given to read the same."""
    return {**flags_of(sets), **(_price_flags(loaded, price_as) if price_as else {})}


def _price_flags(loaded: Loaded, price_as: str) -> dict[str, Any]:
    """Return the settings that give models without a price the one that is named.  Raises click.BadParameter."""
    first, comma, second = price_as.partition(",")
    try:
        prices = (float(first), float(second)) if comma else None
    except ValueError:
        raise click.BadParameter(
            f"{price_as!r} must be two numbers, as 0.15,0.60, or a model", param_hint="--price-as"
        ) from None
    if prices is None:
        try:
            found = Models(loaded).facts(price_as).price
        except StanchionError as error:
            raise click.BadParameter(str(error), param_hint="--price-as") from None
        if found is None:
            raise click.BadParameter(f"no price is known of {price_as!r} either", param_hint="--price-as")
        prices = (found.input / MILLION, found.output / MILLION)
    return {
        "pricing.unknown": "count",
        "pricing.unknown_input": prices[0],
        "pricing.unknown_output": prices[1],
    }
