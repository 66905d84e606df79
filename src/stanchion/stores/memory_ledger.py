"""The ledger of one process, in memory: for libraries and tests.  It keeps the last lines alone, and all sums."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from stanchion.stores.ledger import (
    DAY_HOURS,
    DIMENSIONS,
    FORGET_MOST,
    HOUR_S,
    SUMS,
    Asked,
    Key,
    Line,
    Used,
    daily,
    hourly,
    merged,
    spans,
)
from stanchion.stores.ledger_words import day_word, hour_word

LINES_MOST = 100_000
_Sums = dict[Key, list[int]]


class MemoryLedger:
    """A ledger that ends with its process.  Beyond LINES_MOST the oldest lines are dropped."""

    def __init__(self) -> None:
        self.lines: OrderedDict[tuple[str, int], Line] = OrderedDict()
        self._hours: _Sums = {}
        self._days: _Sums = {}

    async def add(self, lines: Sequence[Line]) -> int:
        fresh = {
            (line.call, line.number): line for line in lines if (line.call, line.number) not in self.lines
        }
        self.lines.update(fresh)
        hours = hourly(fresh.values())
        for kept, rows in ((self._hours, hours), (self._days, daily(hours))):
            for key, more in rows:
                before = kept.setdefault(key, [0] * len(SUMS))
                kept[key] = [a + b for a, b in zip(before, more, strict=True)]
        while len(self.lines) > LINES_MOST:
            self.lines.popitem(last=False)
        return len(fresh)

    async def used(self, asked: Asked) -> Sequence[Used]:
        rows: list[tuple[tuple[str, ...], Sequence[int]]] = []
        for span in spans(asked):
            for (at, *dimensions), sums in (self._days if span.daily else self._hours).items():
                if span.first <= at < span.end:
                    rows.append((tuple(_WORDS[name](at, dimensions, span.daily) for name in asked.by), sums))
        return merged(rows) if rows or asked.by else []

    async def forget(self, before: float) -> int:
        hour = int(before // HOUR_S)
        gone = [at for at, line in self.lines.items() if line.hour < hour][:FORGET_MOST]
        for at in gone:
            del self.lines[at]
        return len(gone)

    async def aclose(self) -> None:
        return


def _hour(at: int, dimensions: Sequence[str], daily: bool) -> str:  # noqa: FBT001 - all alike
    del dimensions, daily  # by hour no day is asked
    return hour_word(at)


def _day(at: int, dimensions: Sequence[str], daily: bool) -> str:  # noqa: FBT001 - all alike
    del dimensions
    return day_word(at if daily else at // DAY_HOURS)


def _dimension(place: int) -> Callable[[int, Sequence[str], bool], str]:
    return lambda _, dimensions, __: dimensions[place]


_WORDS: Mapping[str, Callable[[int, Sequence[str], bool], str]] = {
    **{name: _dimension(place) for place, name in enumerate(DIMENSIONS)},
    "provider": lambda _, dimensions, __: dimensions[DIMENSIONS.index("endpoint")].partition("/")[0],
    "day": _day,
    "hour": _hour,
}
