"""What was used, as a table for people and as JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal

import click
import msgspec
from rich.console import Console
from rich.table import Table

from stanchion.core.usage import CLASSES
from stanchion.stores.ledger import SUMS, Asked, Used, merged

_IN = tuple(name for name in CLASSES if name.startswith("input"))
_OUT = tuple(name for name in CLASSES if name.startswith("output"))


def write(asked: Asked, rows: Sequence[Used], form: str) -> None:
    """Write the rows to standard output."""
    if form == "json":
        told = [_fields(asked, row) for row in rows]
        click.echo(msgspec.json.format(msgspec.json.encode(told)).decode())
    elif form == "csv":
        click.echo(_csv(asked, rows), nl=False)
    elif rows:
        _show(asked, rows)
    else:
        click.echo("nothing was used, as far as the ledger knows")


def dollars(micro_usd: int) -> str:
    """Write micro-dollars as dollars, to the last digit."""
    return f"{Decimal(micro_usd).scaleb(-6):.6f}"


def _fields(asked: Asked, row: Used) -> Mapping[str, str | int]:
    keys = dict(zip(asked.by, row.key, strict=True))
    return {
        **keys,
        **dict(zip(SUMS, row.sums, strict=True)),
        "cost_micro_usd": row.cost_micro_usd,
        "cost": dollars(row.cost_micro_usd),
    }


def _csv(asked: Asked, rows: Sequence[Used]) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*asked.by, *SUMS, "cost_micro_usd", "cost"])
    for row in rows:
        lines.writerow([*map(_cell, row.key), *row.sums, row.cost_micro_usd, dollars(row.cost_micro_usd)])
    return text.getvalue()


def _cell(text: str) -> str:
    """Return a name that no spreadsheet takes for a formula: callers choose some."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _show(asked: Asked, rows: Sequence[Used]) -> None:
    console = Console(highlight=False, markup=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in asked.by:
        table.add_column(name)
    for name in ("calls", "failed", "input", "of it cached", "output", "dollars"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(part or "-" for part in row.key), *_cells(row))
    (total,) = merged(((), row.sums) for row in rows)
    if asked.by and len(rows) > 1:
        table.add_row("total", *[""] * (len(asked.by) - 1), *_cells(total), style="bold")
    if console.is_terminal:
        console.print(table)
    else:  # into a pipe whole lines, however long
        Console(highlight=False, markup=False, width=1000).print(table)
    if total.of("estimated"):
        click.echo(f"{total.of('estimated')} answers were cut or left: their tokens are estimated")
    if total.of("unpriced"):
        click.echo(
            f"{total.of('unpriced')} answers are of models without a price: write it under [prices]; "
            "they count as pricing.unknown_input and unknown_output said"
        )


def _cells(row: Used) -> list[str]:
    def tokens(names: Sequence[str]) -> str:
        return f"{sum(row.of(name) for name in names):,}"

    return [
        f"{row.of('calls'):,}",
        f"{row.of('failed'):,}",
        tokens(_IN),
        tokens(("input_cached",)),
        tokens(_OUT),
        dollars(row.cost_micro_usd),
    ]
