"""Ledgers of many lines, in SQLite and PostgreSQL, written in SQL as batches would write them.

The contract suite holds that a batch's sums agree with its lines; here the sums are added up from the lines.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import msgspec

from benchmarks.processes import Failed
from stanchion.stores.ledger import DIMENSIONS, SUMS
from stanchion.stores.opening import open_ledger
from tests.contract.servers import Missing, PostgresServer

FIRST_HOUR, HOURS = 480_000, 90 * 24  # from an hour of 2024 on
CALLERS, MODELS = 25, 8
_STEP = 500_000
_FILL_S = 1800.0

# every hour has each caller with each model; a call in ten has a cached prompt
_LINES = f"""
    SELECT hour, {{call}}, 0, hour * 3600.0, 'caller' || (i % {CALLERS}), 'model' || (i / {CALLERS} % {MODELS}),
        'openai/model' || (i / {CALLERS} % {MODELS}) || '#KEY', '', 'team' || (i % 4),
        'chat/completions', 'assistant', 'completed', '', '', true, 1.25,
        1, 0, 0, 0, 1, 0, 0,
        900 + i % 100, CASE i % 10 WHEN 0 THEN 800 ELSE 0 END, 0, 0, 200 + i % 50, 0, 0,
        2250, CASE i % 10 WHEN 0 THEN 1000 ELSE 0 END, 0, 0, 2000, 0, 0
    FROM (SELECT i, {FIRST_HOUR} + i * {HOURS} / {{lines}} AS hour FROM {{numbers}}) AS numbered
"""
_SQLITE_NUMBERS = "(WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {end}) SELECT i FROM n)"
_POSTGRES_NUMBERS = "generate_series({first}::bigint, {end}::bigint - 1) AS n(i)"


class Books(msgspec.Struct, frozen=True):
    """A database's empty ledgers: one for few lines, one for many."""

    few: str  # their addresses
    many: str
    fill: Callable[[str, int], None]  # of an address, with so many lines


@contextmanager
def sqlite() -> Generator[Books]:
    """Keep them in files."""
    with TemporaryDirectory(prefix="stanchion-ledger-") as folder:
        yield _made(Books(f"sqlite://{folder}/few.db", f"sqlite://{folder}/many.db", _fill_sqlite))


@contextmanager
def postgres() -> Generator[Books]:
    """Run a PostgreSQL for them.  Raises Failed where there is none."""
    try:
        server = PostgresServer()
    except Missing as error:
        raise Failed(str(error)) from None
    with server:
        asyncio.run(_execute(server.url, "CREATE DATABASE few"))
        yield _made(Books(server.url.replace("/postgres?", "/few?"), server.url, _fill_postgres))


def _made(books: Books) -> Books:
    async def made(url: str) -> None:
        store = open_ledger(url)
        await store.add([])  # makes the tables
        await store.aclose()

    for url in (books.few, books.many):
        asyncio.run(made(url))
    return books


def _fill_sqlite(url: str, lines: int) -> None:
    database = sqlite3.connect(Path(url.removeprefix("sqlite://")), isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")
    for statement in _statements("ledger", lines, "printf('req_%024x', i)", _SQLITE_NUMBERS):
        database.execute(statement)
    database.close()


def _fill_postgres(url: str, lines: int) -> None:
    call = "'req_' || lpad(to_hex(i), 24, '0')"
    statements = _statements("stanchion_ledger", lines, call, _POSTGRES_NUMBERS)
    # the server does the last step by itself soon after such a load
    asyncio.run(_execute(url, "SET work_mem = '256MB'", *statements, "VACUUM ANALYZE"))


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement, timeout=_FILL_S)
    await connection.close()


def _statements(table: str, lines: int, call: str, numbers: str) -> list[str]:
    """Return what writes the lines, a step each, and then the sums."""
    found = list[str]()
    for first in range(0, lines, _STEP):
        some = numbers.format(first=first, end=min(first + _STEP, lines))
        found.append(f"INSERT INTO {table}_line {_LINES.format(call=call, lines=lines, numbers=some)}")
    keys, sums = ", ".join(DIMENSIONS), ", ".join(f"sum({name})" for name in SUMS)
    for to, of, at in (("hour", "line", "hour"), ("day", "hour", "hour / 24")):
        added = f"SELECT {at}, {keys}, {sums} FROM {table}_{of} GROUP BY {at}, {keys}"
        found.append(f"INSERT INTO {table}_{to} {added}")
    return found
