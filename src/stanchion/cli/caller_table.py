"""The table of `stanchion callers list`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from stanchion.core.caller import EVERYONE, Caller, CallerKey, Limit, Team
from stanchion.rules.caller_limits import write_limit
from stanchion.rules.virtual_key import PREFIX
from stanchion.stores.protocols import Callers


class Row(msgspec.Struct, frozen=True):
    """One team, caller or key."""

    kind: str
    name: str
    of: str  # a key's caller, a caller's team
    state: str
    limits: list[str]
    scopes: list[str]
    by: str
    at: float


def rows_of(callers: Callers, now: float) -> list[Row]:
    """Return a row for everything in the book: everyone, teams, callers, keys."""
    rows = [_row(entry, now) for entry in callers.entries]
    return sorted(rows, key=lambda row: (_ORDER.index(row.kind), row.of, row.name))


_ORDER = (EVERYONE, "team", "caller", "key")


def _row(entry: Team | Caller | CallerKey, now: float) -> Row:
    limits = _words(entry.limits)
    if isinstance(entry, Team):
        kind = EVERYONE if entry.name == EVERYONE else "team"
        return Row(kind, entry.name, "", "", limits, [], entry.by, entry.at)
    if isinstance(entry, Caller):
        limits += [f"{word} for each end user" for word in _words(entry.user_limits)]
        return Row("caller", entry.name, entry.team, "", limits, [], entry.by, entry.at)
    scopes = [*entry.scopes.models, *entry.scopes.operations, *entry.scopes.networks]
    return Row(
        "key", PREFIX + entry.name, entry.caller, _state(entry, now), limits, scopes, entry.by, entry.at
    )


def _words(limits: Sequence[Limit]) -> list[str]:
    return [write_limit(limit) for limit in limits]


def _state(key: CallerKey, now: float) -> str:
    if key.revoked_at:
        return "revoked"
    if not key.expires_at:
        return "works"
    left_s = key.expires_at - now
    if left_s <= 0:
        return "expired"
    return (
        f"works for {left_s / 86_400:.0f} days"
        if left_s >= 2 * 86_400
        else f"works for {left_s / 3600:.1f} h"
    )


def show(rows: Sequence[Row]) -> None:
    """Draw the rows."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # into a pipe whole lines, however long
        console = Console(highlight=False, markup=False, width=1000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "name", "of", "state", "limits", "only for"):
        table.add_column(heading, overflow="fold")
    between = "\n" if console.is_terminal else ", "
    for row in rows:
        limits, scopes = between.join(row.limits), between.join(row.scopes)
        table.add_row(row.kind, row.name, row.of or "-", row.state or "-", limits or "-", scopes or "-")
    console.print(table)
