"""The table of keys: what running processes report, and what is configured and not running."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from stanchion.stores.protocols import KeyReport


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One key of one process; `replica` is "" where no process runs."""

    key: str
    fingerprint: str
    state: str
    since: float = 0.0  # seconds since 1970; 0 is not known
    in_flight: int = 0
    quota: Mapping[str, str] = {}
    error: str = ""
    error_at: float = 0.0
    replica: str = ""


def rows_of(reports: Sequence[KeyReport], configured: Mapping[str, str]) -> list[Row]:
    """Return the rows; `configured` are the keys of the settings with the fingerprint of what they hold now."""
    rows = [
        Row(
            key=report.key,
            fingerprint=report.fingerprint,
            state=report.state,
            since=report.since,
            in_flight=report.in_flight,
            quota=report.quota,
            error=report.error,
            error_at=report.error_at,
            replica=report.replica,
        )
        for report in reports
    ]
    running = {row.key for row in rows}
    rows += [
        Row(key=key, fingerprint=fingerprint, state="not running")
        for key, fingerprint in configured.items()
        if key not in running
    ]
    return sorted(rows, key=lambda row: (row.key, row.replica))


def show(rows: Sequence[Row], *, wide: bool) -> None:
    """Print the table.  `wide`: with the process each row is of."""
    console = Console(highlight=False, markup=False)
    names = ["key", "fingerprint", "state", "since", "in flight", "quota left", "last error"]
    table = Table(*names, *(["process"] if wide else []), box=None, header_style="bold", pad_edge=False)
    now = time.time()
    for row in rows:
        error = f"{row.error}, {ago(now - row.error_at)} ago" if row.error else "-"
        quota = "\n".join(f"{model}: {left}" for model, left in row.quota.items()) or "-"
        cells = [
            row.key,
            row.fingerprint or "-",
            row.state,
            ago(now - row.since) if row.since else "-",
            str(row.in_flight),
            quota,
            error,
        ]
        table.add_row(*cells, *([row.replica] if wide else []), style=_style(row.state))
    if console.is_terminal:
        console.print(table)
    else:  # into a pipe whole lines, however long
        Console(highlight=False, markup=False, width=1000).print(table)


def ago(seconds: float) -> str:
    """Say a span in its largest unit: 90 s, 5 min, 3 h, 2 d."""
    seconds = max(0.0, seconds)
    for bound, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < bound:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _style(state: str) -> str:
    if state == "not running":
        return "dim"
    return "red" if state.startswith("quarantined") else ""
