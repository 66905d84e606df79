"""The key book in a SQLite file."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence

import msgspec

from stanchion.stores.protocols import ORDERS_MOST, ORDERS_OLDEST_S, PEPPER_BYTES, KeyOrder, KeyReport
from stanchion.stores.sqlite.file import SqliteFile

_REPORTS_OLDEST_S = 86_400.0


class SqliteKeyBook:
    """The key book of one machine's processes."""

    def __init__(self, path: str) -> None:
        self._file = SqliteFile(path)

    async def pepper(self) -> bytes:
        def step(db: sqlite3.Connection, now: float) -> bytes:
            del now
            db.execute("INSERT OR IGNORE INTO pepper VALUES (1, ?)", (secrets.token_bytes(PEPPER_BYTES),))
            return db.execute("SELECT bytes FROM pepper").fetchone()[0]

        return await self._file.run(step)

    async def report(self, reports: Sequence[KeyReport]) -> None:
        def step(db: sqlite3.Connection, now: float) -> None:
            db.execute("DELETE FROM key_report WHERE at < ?", (now - _REPORTS_OLDEST_S,))
            rows = [(each.key, each.replica, now, msgspec.json.encode(each)) for each in reports]
            db.executemany("INSERT OR REPLACE INTO key_report VALUES (?, ?, ?, ?)", rows)

        await self._file.run(step)

    async def reports(self, *, younger_than_s: float) -> Sequence[KeyReport]:
        def step(db: sqlite3.Connection, now: float) -> list[bytes]:
            rows = db.execute(
                "SELECT report FROM key_report WHERE at > ? ORDER BY key, replica", (now - younger_than_s,)
            )
            return [report for (report,) in rows]

        return [msgspec.json.decode(each, type=KeyReport) for each in await self._file.run(step)]

    async def order(self, order: KeyOrder) -> int:
        def step(db: sqlite3.Connection, now: float) -> int:
            told = msgspec.json.encode(order)
            number = db.execute("INSERT INTO key_order (at, told) VALUES (?, ?)", (now, told)).lastrowid or 0
            gone = (now - ORDERS_OLDEST_S, number - ORDERS_MOST)
            db.execute("DELETE FROM key_order WHERE at <= ? OR number <= ?", gone)
            return number

        return await self._file.run(step)

    async def orders(self, after: int) -> Sequence[KeyOrder]:
        def step(db: sqlite3.Connection, now: float) -> list[tuple[int, bytes]]:
            return db.execute(
                "SELECT number, told FROM key_order WHERE number > ? AND at > ? ORDER BY number",
                (after, now - ORDERS_OLDEST_S),
            ).fetchall()

        rows = await self._file.run(step)
        return [
            msgspec.structs.replace(msgspec.json.decode(told, type=KeyOrder), number=number)
            for number, told in rows
        ]

    async def aclose(self) -> None:
        await self._file.aclose()
