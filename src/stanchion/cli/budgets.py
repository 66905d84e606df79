"""`stanchion budgets`: what each budget has spent, what is held for calls on their way, and what is left."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from stanchion.cli.given import flags_of, settings_options
from stanchion.cli.state import with_state
from stanchion.cli.usage_table import dollars
from stanchion.cli.verbosity import verbose_option
from stanchion.core.clock import Clock
from stanchion.core.errors import SettingsError
from stanchion.engine.config import load
from stanchion.policies.budget import Account, BudgetSettings
from stanchion.stores.budgets import NAMES_MOST, Budgets, Sums
from stanchion.stores.opening import open_budgets, shown
from stanchion.stores.protocols import StoreLost


class Row(msgspec.Struct, frozen=True):
    """One purse, in micro-dollars."""

    budget: str
    of: str  # the team, caller, key or end user it is of; "" where it is everybody's
    window: str
    cap_micro_usd: int
    spent_micro_usd: int
    held_micro_usd: int
    left_micro_usd: int
    resets_at: float | None  # seconds since 1970; None: never


@click.command("budgets")
@click.option("--json", "as_json", is_flag=True, help="For programs: one object per line of the table.")
@settings_options
@verbose_option
def command(as_json: bool, config: Path | None, sets: tuple[str, ...]) -> None:  # noqa: FBT001 - a flag
    """Tell of each budget what is spent, held and left now, and when its window ends.

    Held is what calls that are on their way may cost at most.  A budget that is for each team, caller, key or end
    user has a line for each that has spent something in this window.

    \b
    Examples:
      stanchion budgets
          All budgets of the settings, from the store that `stanchion serve` uses.
      stanchion budgets --json | jq '.[] | select(.left_micro_usd <= 0)'
          Those that are used up.
      stanchion budgets --set stores.budgets=redis://10.0.0.7:6379/0
          What all replicas spend together.
    """  # noqa: D301 - click reads \b
    settings = with_state(load(config, flags=flags_of(sets))).settings
    address = settings.stores.budgets
    if not settings.budgets:
        if as_json:
            click.echo("[]")
        else:
            click.echo(
                "there are no budgets in the settings; write one as [budgets.NAME] with dollars = 50.0"
            )
        return
    if address == "memory":
        raise SettingsError(
            "stores.budgets is memory, which this command cannot see: name a file, Redis or PostgreSQL, "
            "as sqlite:///var/lib/stanchion/budgets.db"
        )
    rows = asyncio.run(_read(address, settings.budgets, time.time()))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        _show(rows)


async def _read(address: str, budgets: Mapping[str, BudgetSettings], now: float) -> list[Row]:
    store = open_budgets(address, Clock())
    try:
        return [row for name, each in budgets.items() for row in await _rows(store, name, each, now)]
    except StoreLost as error:
        raise click.ClickException(f"the budgets at {shown(address)} cannot be read: {error}") from error
    finally:
        await store.aclose()


async def _rows(store: Budgets, name: str, settings: BudgetSettings, now: float) -> list[Row]:
    account = Account(name, settings)
    window = account.window(now)
    begins, ends = (f"{name} " if account.shown else f"{name}/"), f" {window.id}"
    known = [each for each in await store.names(begins) if each.endswith(ends)]
    sums = dict(zip(known, await store.spent(known), strict=True)) if known else {}
    if account.shown and not sums:
        sums = {f"{name}{ends}": Sums(0, 0)}
    return [
        Row(
            name,
            purse[len(begins) : -len(ends)] if not account.shown else "",
            window.id,
            account.cap,
            each.spent,
            each.held,
            account.cap - each.spent - each.held,
            None if math.isinf(window.ends_at) else window.ends_at,
        )
        for purse, each in sums.items()
    ]


def _show(rows: Sequence[Row]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("budget", "of", "window"):
        table.add_column(name)
    for name in ("dollars", "spent", "held", "left"):
        table.add_column(name, justify="right")
    table.add_column("resets (UTC)")
    for row in rows:
        amounts = (row.cap_micro_usd, row.spent_micro_usd, row.held_micro_usd, row.left_micro_usd)
        resets = datetime.fromtimestamp(row.resets_at, UTC) if row.resets_at is not None else None
        table.add_row(
            row.budget,
            row.of,
            row.window,
            *[dollars(each) for each in amounts],
            f"{resets:%Y-%m-%d %H:%M}" if resets is not None else "never",
        )
    console = Console(highlight=False, markup=False)
    console.print(table)
    if len(rows) >= NAMES_MOST:
        console.print(f"of budgets with very many lines the first {NAMES_MOST} are shown")
