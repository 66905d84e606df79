"""The ledger in a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from stanchion.stores.ledger import (
    DAY_HOURS,
    DIMENSIONS,
    FORGET_MOST,
    HOUR_S,
    SUMS,
    Asked,
    Line,
    Used,
    joined,
    spans,
    totals,
)
from stanchion.stores.ledger_words import rows_of, usage_sql
from stanchion.stores.sqlite.file import SqliteFile

_MARKS = ", ".join("?" * (4 + len(DIMENSIONS) + 7 + len(SUMS)))
_LINE = f"INSERT OR IGNORE INTO ledger_line VALUES ({_MARKS})"  # noqa: S608 - question marks
_MORE = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
_KEY = ", ".join(DIMENSIONS)
_PROVIDER = "substr(endpoint, 1, instr(endpoint || '/', '/') - 1)"
_FORGET = """
    DELETE FROM ledger_line WHERE (hour, call, number) IN (
        SELECT hour, call, number FROM ledger_line WHERE hour < ? ORDER BY hour LIMIT ?
    )
"""


def _upsert(at: str) -> str:
    marks = ", ".join("?" * (1 + len(DIMENSIONS) + len(SUMS)))
    # the words are ours, the values go as parameters
    return f"INSERT INTO ledger_{at} VALUES ({marks}) ON CONFLICT ({at}, {_KEY}) DO UPDATE SET {_MORE}"  # noqa: S608


_SUMS = ((_upsert("hour"), 1), (_upsert("day"), DAY_HOURS))


class SqliteLedger:
    """The ledger of one machine's processes."""

    def __init__(self, path: str) -> None:
        self._file = SqliteFile(path, "ledger.sql")

    async def add(self, lines: Sequence[Line]) -> int:
        def step(db: sqlite3.Connection, now: float) -> int:
            del now
            fresh = [line for line in lines if db.execute(_LINE, _row(line)).rowcount == 1]
            for upsert, hours in _SUMS:
                db.executemany(upsert, [(at, *key, *sums) for at, key, sums in totals(fresh, hours)])
            return len(fresh)

        return await self._file.run(step)

    async def used(self, asked: Asked) -> Sequence[Used]:
        def step(db: sqlite3.Connection, now: float) -> list[Used]:
            del now
            rows = list[list[Used]]()
            for span in spans(asked):
                question = usage_sql(asked, span, "ledger", _PROVIDER, ("?", "?"), "sum({})")
                rows.append(rows_of(asked, db.execute(question, (span.first, span.end))))
            return joined(asked, rows)

        return await self._file.run(step)

    async def forget(self, before: float) -> int:
        return await self._file.run(
            lambda db, _: db.execute(_FORGET, (int(before // HOUR_S), FORGET_MOST)).rowcount
        )

    async def aclose(self) -> None:
        await self._file.aclose()


def _row(line: Line) -> tuple[object, ...]:
    return (
        line.hour,
        line.call,
        line.number,
        line.at,
        *line.dimensions,
        line.operation,
        line.asked,
        line.outcome,
        line.code,
        line.tier,
        line.stream,
        line.seconds,
        *line.sums,
    )
