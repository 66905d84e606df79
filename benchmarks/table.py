"""The table for people and the JSON for programs."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Row
from benchmarks.machine import description


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the rows."""
    table = Table(title="Each figure beside its reference, measured in turns", title_justify="left")
    for heading in ("row", "reference", "ours", "compared", "reach", ""):
        table.add_column(heading, justify="left" if heading in ("row", "") else "right", overflow="fold")
    for row in rows:
        name = f"{row.name}\n[dim]{'; '.join(filter(None, (row.beside and f'beside {row.beside}', row.note)))}[/]"
        table.add_row(name, _amount(row.reference, row.unit), _amount(row.ours, row.unit), *_judged(row))
    console.print(table)
    console.print(f"[dim]{description()}[/]")


def _judged(row: Row) -> tuple[str, str, str]:
    def written(value: float) -> str:
        return f"{value:.3g}x" if row.as_ == "x" else _amount(value, row.unit)

    reach = ""
    if row.most is not None:
        reach = f"≤ {written(row.most)}"
    elif row.least is not None:
        reach = f"≥ {written(row.least)}"
    verdict = {True: "[green]pass[/]", False: "[bold red]MISS[/]", None: "[dim]-[/]"}[row.passed]
    return written(row.compared), reach, verdict


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    shown = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{shown} {unit}"


def write(rows: Sequence[Row], file: Path) -> None:
    """Write the rows as JSON."""
    found = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": description(),
        "rows": [{**msgspec.to_builtins(row), "passed": row.passed} for row in rows],
    }
    file.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
