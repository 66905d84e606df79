"""The ledger in a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain

from stanchion.stores.ledger import (
    DIMENSIONS,
    FORGET_MOST,
    HOUR_S,
    SUMS,
    Asked,
    Line,
    Used,
    daily,
    hourly,
    joined,
    spans,
)
from stanchion.stores.ledger_words import rows_of, usage_sql
from stanchion.stores.sqlite.file import SqliteFile

_MARKS = ", ".join("?" * (4 + len(DIMENSIONS) + 7 + len(SUMS)))
_TOGETHER = 25  # rows in one statement: an older SQLite takes 999 values at most
_LINE = f"INSERT OR IGNORE INTO ledger_line VALUES ({_MARKS})"  # noqa: S608 - question marks
_LINES = ", ".join([_LINE, *[f"({_MARKS})"] * (_TOGETHER - 1)])
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


_HOUR, _DAY = _upsert("hour"), _upsert("day")


class SqliteLedger:
    """The ledger of one machine's processes."""

    def __init__(self, path: str) -> None:
        self._file = SqliteFile(path, "ledger.sql")

    async def add(self, lines: Sequence[Line]) -> int:
        def step(db: sqlite3.Connection, now: float) -> int:
            del now
            fresh = _insert(db, lines)
            hours = hourly(fresh)
            for upsert, rows in ((_HOUR, hours), (_DAY, daily(hours))):
                db.executemany(upsert, [(at, *key, *sums) for at, key, sums in rows])
            return len(fresh)

        return await self._file.run(step)

    async def used(self, asked: Asked) -> Sequence[Used]:
        def step(db: sqlite3.Connection, now: float) -> list[Used]:
            del now
            rows: list[list[Used]] = []
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


def _insert(db: sqlite3.Connection, lines: Sequence[Line]) -> Sequence[Line]:
    """Write the lines that are not there; return them.  All in one go, since all are new nearly always."""
    rows, before = [_row(line) for line in lines], db.total_changes
    db.execute("SAVEPOINT lines")
    whole = len(rows) - len(rows) % _TOGETHER
    for start in range(
        0, whole, _TOGETHER
    ):  # each statement gives the interpreter's lock away and waits for it
        db.execute(_LINES, tuple(chain.from_iterable(rows[start : start + _TOGETHER])))
    db.executemany(_LINE, rows[whole:])
    if db.total_changes - before == len(lines):
        return lines
    db.execute("ROLLBACK TO lines")
    return [line for line, row in zip(lines, rows, strict=True) if db.execute(_LINE, row).rowcount == 1]


def _row(line: Line) -> tuple[object, ...]:
    return (
        int(line.at // HOUR_S),
        line.call,
        line.number,
        line.at,
        line.caller,  # the dimensions, in their order
        line.model,
        line.endpoint,
        line.key,
        line.team,
        line.operation,
        line.asked,
        line.outcome,
        line.code,
        line.tier,
        line.stream,
        line.seconds,
        *line.sums,
    )
