"""What every call cost: the ledger's lines, and sums of them by hour and by day.

A *line* is one call, or one earlier attempt of a call that used tokens of its own.  It is written once, however
often the batch that it stands in is sent.  The sums change in the same transaction as the lines, so that both
always agree, and what was used in months is read from a few thousand rows.  Hours and days are those of UTC.

A line holds no prompt, no answer and no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import add
from typing import Protocol

import msgspec

from stanchion.core.usage import CLASSES

# what sums are kept apart by, in the order of their rows: the usual questions read them without sorting
DIMENSIONS = ("caller", "model", "endpoint", "key", "team")
BY = (*DIMENSIONS, "provider", "day", "hour")  # what can be asked for
COUNTS = ("calls", "failed", "cancelled", "cached", "attempts", "estimated", "unpriced")
COSTS = tuple(f"cost_{name}" for name in CLASSES)  # micro-dollars; their sum is the total
SUMS = (*COUNTS, *CLASSES, *COSTS)
FACTS = ("operation", "asked", "outcome", "code", "tier", "stream", "seconds")
HOUR_S, DAY_HOURS = 3600, 24
FORGET_MOST = 10_000  # lines in one step
_ALWAYS = DAY_HOURS * 2**35  # an hour that never comes, and a midnight


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line.  Of all lines of a call exactly one has `calls` = 1: the one with number 0."""

    call: str  # the call's id
    number: int  # 0 is the call with its last attempt, n its attempt n
    at: float  # when it ended, in seconds since 1970
    team: str
    caller: str
    key: str  # the public part of the caller's key
    model: str  # as it was asked at the provider
    endpoint: str
    operation: str
    asked: str  # the model as the caller named it
    outcome: str
    code: str
    tier: str
    stream: bool
    seconds: float
    sums: tuple[int, ...]  # in the order of SUMS

    @property
    def hour(self) -> int:
        """The hour of its end, in hours since 1970."""
        return int(self.at // HOUR_S)


class Asked(msgspec.Struct, frozen=True):
    """What to add up, and from when to when."""

    by: tuple[str, ...] = ()  # of BY
    since: float | None = None  # seconds since 1970; the hour it lies in is the first
    until: float | None = (
        None  # the hour it lies in is the first that no longer counts; one that begins then too
    )


class Used(msgspec.Struct, frozen=True, gc=False):
    """One row of an answer."""

    key: tuple[str, ...]  # in the order of `Asked.by`
    sums: tuple[int, ...]  # in the order of SUMS

    @property
    def cost_micro_usd(self) -> int:
        """All of it, in micro-dollars."""
        return sum(self.sums[-len(COSTS) :])

    def of(self, name: str) -> int:
        """Return one of the sums."""
        return self.sums[SUMS.index(name)]


class LedgerStore(Protocol):
    """The ledger of all who open the same store."""

    async def add(self, lines: Sequence[Line]) -> int:
        """Write those lines that are not there yet, and their sums, or none; returns how many were new."""
        ...

    async def used(self, asked: Asked) -> Sequence[Used]:
        """Add up what is asked for, ordered by key."""
        ...

    async def forget(self, before: float) -> int:
        """Drop at most FORGET_MOST lines that ended in an hour before `before`; sums stay.  Returns how many."""
        ...

    async def aclose(self) -> None: ...


class Span(msgspec.Struct, frozen=True, gc=False):
    """Rows of the sums by hour or by day: from `first` on, without `end`."""

    daily: bool
    first: int
    end: int


def spans(asked: Asked) -> list[Span]:
    """Return the fewest rows that hold the time: whole days from the sums by day, the ends from those by hour."""
    first = 0 if asked.since is None else int(asked.since // HOUR_S)
    end = _ALWAYS if asked.until is None else int(asked.until // HOUR_S)
    day, last_day = -(-first // DAY_HOURS), end // DAY_HOURS
    if "hour" in asked.by or day >= last_day:
        return [Span(daily=False, first=first, end=end)]
    found = [
        Span(daily=False, first=first, end=day * DAY_HOURS),
        Span(daily=True, first=day, end=last_day),
        Span(daily=False, first=last_day * DAY_HOURS, end=end),
    ]
    return [each for each in found if each.first < each.end]


Key = tuple[int, str, str, str, str, str]  # an hour or a day, and the dimensions
Total = tuple[Key, Sequence[int]]  # with its sums


def hourly(lines: Iterable[Line]) -> list[Total]:
    """Add the lines up by hour and dimensions, in an order that is the same for all."""
    return _totals(
        [
            # the dimensions in the order of DIMENSIONS
            ((int(line.at // HOUR_S), line.caller, line.model, line.endpoint, line.key, line.team), line.sums)
            for line in lines
        ]
    )


def daily(hours: Iterable[Total]) -> list[Total]:
    """Add up what was added up by hour, by day."""
    return _totals([((key[0] // DAY_HOURS, *key[1:]), sums) for key, sums in hours])


def _totals(rows: Iterable[Total]) -> list[Total]:
    found: dict[Key, list[Sequence[int]]] = {}
    for key, sums in rows:
        group = found.get(key)
        if group is None:
            found[key] = [sums]
        else:
            group.append(sums)
    return [(key, _columns(found[key])) for key in sorted(found)]


def _columns(rows: list[Sequence[int]]) -> Sequence[int]:
    """Add rows up column by column: a third of what row by row costs."""
    return rows[0] if len(rows) == 1 else list(map(sum, zip(*rows, strict=True)))


def joined(asked: Asked, spans: Sequence[list[Used]]) -> list[Used]:
    """Return the rows of all spans, ordered by key."""
    if len(spans) > 1 and "day" not in asked.by:
        return merged((row.key, row.sums) for rows in spans for row in rows)
    rows = [row for each in spans for row in each]  # no day is in two spans
    rows.sort(key=_key)
    return rows


def _key(row: Used) -> tuple[str, ...]:
    return row.key


def merged(rows: Iterable[tuple[tuple[str, ...], Sequence[int]]]) -> list[Used]:
    """Add up rows by key, ordered."""
    found: dict[tuple[str, ...], Sequence[int]] = {}
    for key, sums in rows:
        before = found.get(key)
        found[key] = sums if before is None else _added(before, sums)
    return [Used(key, tuple(found[key])) for key in sorted(found)]


def _added(sums: Sequence[int], more: Sequence[int]) -> list[int]:
    return list(map(add, sums, more))
