"""The ledger in a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, compress

from msgspec.structs import astuple

from stanchion.stores.ledger import (
    DIMENSIONS,
    FACTS,
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

_FORMS_MOST = 32  # of statements, kept
_VALUES_MOST = 999  # in one statement: an older SQLite takes no more
_COLUMNS = ("hour", "call", "number", "at", *DIMENSIONS, *FACTS, *SUMS)  # of ledger_line, in their order
_TEXTS = {"call", *DIMENSIONS, *FACTS} - {"stream", "seconds"}
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
        self._told = (False,) * len(_COLUMNS)  # columns that had something in any line so far

    async def add(self, lines: Sequence[Line]) -> int:
        def step(db: sqlite3.Connection, now: float) -> int:
            del now
            if not lines:
                return 0
            columns = _columns(lines)
            self._told = told = tuple([a or any(b) for a, b in zip(self._told, columns, strict=True)])
            fresh = _insert(db, lines, list(zip(*compress(columns, told), strict=True)), told)
            hours = hourly(fresh)
            for upsert, rows in ((_HOUR, hours), (_DAY, daily(hours))):
                db.executemany(upsert, [(*key, *sums) for key, sums in rows])
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


@lru_cache(_FORMS_MOST)
def _form(told: tuple[bool, ...], rows: int) -> str:
    """Return the statement for so many rows that have something in these columns; the rest is empty in each of them.

    Most columns are empty in most lines, and to hand a value over costs as much as to write it.
    """
    columns = zip(_COLUMNS, told, strict=True)
    marks = ", ".join(["?" if each else "''" if name in _TEXTS else "0" for name, each in columns])
    return f"INSERT OR IGNORE INTO ledger_line VALUES {', '.join([f'({marks})'] * rows)}"  # noqa: S608 - no values


def _insert(
    db: sqlite3.Connection, lines: Sequence[Line], rows: Sequence[tuple[object, ...]], told: tuple[bool, ...]
) -> Sequence[Line]:
    """Write the lines that are not there; return them.  All in one go, since all are new nearly always.

    `rows`: what the lines have in the columns of `told`, where they have nothing in others.
    """
    before = db.total_changes
    together = _VALUES_MOST // sum(told)  # each statement gives the interpreter's lock away and waits for it
    whole = len(rows) - len(rows) % together
    db.execute("SAVEPOINT lines")
    for start in range(0, whole, together):
        db.execute(_form(told, together), tuple(chain.from_iterable(rows[start : start + together])))
    one = _form(told, 1)
    db.executemany(one, rows[whole:])
    if db.total_changes - before == len(lines):
        return lines
    db.execute("ROLLBACK TO lines")
    return [line for line, row in zip(lines, rows, strict=True) if db.execute(one, row).rowcount == 1]


def _columns(lines: Sequence[Line]) -> list[tuple[object, ...]]:
    """Return the lines column by column, in the order of the table."""
    facts = dict(zip(Line.__struct_fields__, zip(*map(astuple, lines), strict=True), strict=True))
    sums, hours = facts.pop("sums"), tuple([int(at // HOUR_S) for at in facts["at"]])
    return [hours, *[facts[name] for name in _COLUMNS[1 : -len(SUMS)]], *zip(*sums, strict=True)]
