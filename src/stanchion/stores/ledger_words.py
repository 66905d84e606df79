"""Hours and days as words, and the SQL that both databases understand alike."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from stanchion.stores.ledger import DAY_HOURS, SUMS, Asked, Span, Used

_START = datetime(1970, 1, 1, tzinfo=UTC)


def hour_word(hour: int) -> str:
    """2026-11-24T13:00Z."""
    return (_START + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:00Z")


def day_word(day: int) -> str:
    """2026-11-24."""
    return (_START + timedelta(days=day)).strftime("%Y-%m-%d")


def usage_sql(asked: Asked, span: Span, table: str, provider: str, marks: tuple[str, str], sums: str) -> str:
    """Return the question for one span.  `provider` is an expression, `sums` a form such as `sum({})`."""
    at = "day" if span.daily else "hour"
    columns = [_column(name, at, provider) for name in asked.by]
    wanted = ", ".join([*columns, *(sums.format(name) for name in SUMS)])
    where = f"{at} >= {marks[0]} AND {at} < {marks[1]}"
    # nothing in it is of a caller: names are of BY and SUMS, values go as parameters
    question = f"SELECT {wanted} FROM {table}_{at} WHERE {where}"  # noqa: S608
    return f"{question} GROUP BY {', '.join(columns)}" if columns else f"{question} HAVING count(*) > 0"


def rows_of(asked: Asked, rows: Iterable[Any]) -> list[Used]:
    """Return a database's rows as key and sums."""
    cut = len(asked.by)
    times = [(place, name == "day") for place, name in enumerate(asked.by) if name in ("day", "hour")]
    if not times:
        return [Used(tuple(row[:cut]), tuple(row[cut:])) for row in rows]
    words, found = dict[tuple[bool, int], str](), list[Used]()
    for row in rows:
        key = list(row[:cut])
        for place, daily in times:
            at = (daily, key[place])
            word = words.get(at)
            if word is None:
                word = words[at] = day_word(at[1]) if daily else hour_word(at[1])
            key[place] = word
        found.append(Used(tuple(key), tuple(row[cut:])))
    return found


def _column(name: str, at: str, provider: str) -> str:
    if name == "provider":
        return provider
    return f"{at} / {DAY_HOURS}" if name == "day" and at == "hour" else name
