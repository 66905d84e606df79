"""The caller book in a SQLite file."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence

import msgspec

from stanchion.core.caller import Entry
from stanchion.stores.memory import kind_of
from stanchion.stores.protocols import PEPPER_BYTES, Callers
from stanchion.stores.sqlite.file import SqliteFile

_decode = msgspec.json.Decoder(Entry).decode


class SqliteCallerBook:
    """The caller book of one machine's processes."""

    def __init__(self, path: str) -> None:
        self._file = SqliteFile(path)

    async def read(self, known: int = -1) -> Callers | None:
        def step(db: sqlite3.Connection, now: float) -> tuple[int, bytes, list[bytes]] | None:
            del now
            version = _version(db)
            if version == known:
                return None
            db.execute("INSERT OR IGNORE INTO pepper VALUES (1, ?)", (secrets.token_bytes(PEPPER_BYTES),))
            pepper: bytes = db.execute("SELECT bytes FROM pepper").fetchone()[0]
            rows = db.execute("SELECT entry FROM caller_entry ORDER BY kind, name")
            return version, pepper, [entry for (entry,) in rows]

        found = await self._file.run(step)
        if found is None:
            return None
        return Callers(found[0], found[1], [_decode(entry) for entry in found[2]])

    async def write(self, entries: Sequence[Entry], *, at: int) -> bool:
        def step(db: sqlite3.Connection, now: float) -> bool:
            del now
            if _version(db) != at:
                return False
            rows = [(kind_of(entry), entry.name, msgspec.json.encode(entry)) for entry in entries]
            db.executemany("INSERT OR REPLACE INTO caller_entry VALUES (?, ?, ?)", rows)
            db.execute("INSERT OR REPLACE INTO caller_book VALUES (1, ?)", (at + 1,))
            return True

        return await self._file.run(step)

    async def aclose(self) -> None:
        await self._file.aclose()


def _version(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT version FROM caller_book").fetchone()
    return row[0] if row is not None else 0
