"""A cache in a SQLite file: shared by the processes of a machine, and there after a restart."""

from __future__ import annotations

import sqlite3

from stanchion.stores.protocols import CACHE_ENTRY_BYTES, Kept
from stanchion.stores.sqlite.file import SqliteFile

_USED_S = 60.0  # a look within it writes nothing down: which of two was used later is not so important
_TOGETHER = 64  # entries that are looked through for room at a time


class SqliteCache:
    """A CacheStore of one machine's processes.  The bound is of all of them: the smallest that is given holds."""

    def __init__(self, path: str, most_bytes: int) -> None:
        self._file = SqliteFile(path)
        self._most_bytes = most_bytes

    async def get(self, key: bytes) -> Kept | None:
        def step(db: sqlite3.Connection, now: float) -> Kept | None:
            row = db.execute(
                "SELECT value, until, used_at FROM cache WHERE key = ? AND until > ?", (key, now)
            ).fetchone()
            if row is None:
                return None
            value, until, used_at = row
            if now - used_at > _USED_S:
                db.execute("UPDATE cache SET used_at = ? WHERE key = ?", (now, key))
            return Kept(value, until - now)

        return await self._file.run(step)

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        size = len(key) + len(value) + CACHE_ENTRY_BYTES

        def step(db: sqlite3.Connection, now: float) -> None:
            held = db.execute("SELECT bytes FROM cache_size").fetchone()[0]
            held -= _take_out(db, "key = ? OR until <= ?", (key, now))
            if ttl_s > 0 and size <= self._most_bytes:
                row = (key, value, size, now + ttl_s, now)
                db.execute("INSERT INTO cache VALUES (?, ?, ?, ?, ?)", row)
                held += size
            while held > self._most_bytes:
                held -= _oldest_out(db, held - self._most_bytes)
            db.execute("UPDATE cache_size SET bytes = ?", (held,))

        await self._file.run(step)

    async def held_bytes(self) -> int:
        def step(db: sqlite3.Connection, now: float) -> int:
            del now
            return db.execute("SELECT bytes FROM cache_size").fetchone()[0]

        return await self._file.run(step)

    async def aclose(self) -> None:
        await self._file.aclose()


def _take_out(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> int:
    """Delete entries and return their bytes.  `where` is one of this file's."""
    freed = db.execute(f"SELECT total(size) FROM cache WHERE {where}", values).fetchone()[0]  # noqa: S608
    if freed:
        db.execute(f"DELETE FROM cache WHERE {where}", values)  # noqa: S608
    return int(freed)


def _oldest_out(db: sqlite3.Connection, wanted: int) -> int:
    """Delete the least recently used until so many bytes are free, or a few of them; return their bytes."""
    freed, gone = 0, list[tuple[int]]()
    for row, size in db.execute("SELECT rowid, size FROM cache ORDER BY used_at LIMIT ?", (_TOGETHER,)):
        gone.append((row,))
        freed += size
        if freed >= wanted:
            break
    db.executemany("DELETE FROM cache WHERE rowid = ?", gone)
    return freed if gone else wanted  # nothing is there: the sum was wrong, and is put right
