"""Limits in a SQLite file.  The arithmetic is rules/meter.py's own; the file is the memory."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from stanchion.rules.meter import Meter
from stanchion.stores.memory import FORGET_S, SLOT_WAIT_LEAST_S, apply
from stanchion.stores.protocols import Change, Slot, StoreLost, Take, Taken, giving_back
from stanchion.stores.sqlite.file import SqliteFile


class SqliteLimits:
    """Limits shared by the processes of one machine."""

    def __init__(self, file: str | SqliteFile) -> None:
        """`file`: a path, or a file that other stores share."""
        self._file = SqliteFile(file) if isinstance(file, str) else file

    async def take(self, takes: Sequence[Take], slots: Sequence[Slot], holder: str) -> Taken:
        step: Future[Taken] = self._file.submit(lambda db, now: take(db, now, takes, slots, holder))
        try:
            return await asyncio.wrap_future(step)
        except asyncio.CancelledError:
            with suppress(StoreLost):  # closed or full: it expires, and the caller is cancelled all the same
                self._file.submit(lambda db, now: _undo(db, now, step, takes, slots, holder))
            raise

    async def change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        await self._file.run(lambda db, now: change(db, now, changes, free, holder))

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        return await self._file.run(lambda db, now: note_member(db, now, group, member, ttl_s))

    async def aclose(self) -> None:
        await self._file.aclose()


def take(
    db: sqlite3.Connection, now: float, takes: Sequence[Take], slots: Sequence[Slot], holder: str
) -> Taken:
    """Take all of it, or nothing."""
    meters = [_meter(db, each.meter, now) for each in takes]
    wait_s = 0.0
    for each, meter in zip(takes, meters, strict=True):
        wait_s = max(wait_s, meter.wait_s(now, each.cost_s, each.room_s))
    for slot in slots:
        wait_s = max(wait_s, _slot_wait_s(db, slot, holder, now))
    if wait_s == 0.0:
        for each, meter in zip(takes, meters, strict=True):
            meter.book(now, each.cost_s)
            _keep(db, each.meter, meter)
        for slot in slots:
            db.execute("INSERT OR REPLACE INTO slot VALUES (?, ?, ?)", (slot.name, holder, now + slot.ttl_s))
    return _taken(wait_s, now, meters)


def as_they_are(db: sqlite3.Connection, now: float, takes: Sequence[Take], wait_s: float) -> Taken:
    """Tell how deep the meters are, of which nothing was taken after all."""
    return _taken(wait_s, now, [_meter(db, each.meter, now) for each in takes])


def _undo(
    db: sqlite3.Connection,
    now: float,
    step: Future[Taken],
    takes: Sequence[Take],
    slots: Sequence[Slot],
    holder: str,
) -> None:
    """Give back what a caller took that left meanwhile.  Its step was the one before, so it is decided."""
    if step.cancelled() or isinstance(step.exception(), StoreLost) or step.result().wait_s > 0:
        return
    change(db, now, giving_back(takes), [slot.name for slot in slots], holder)


def change(
    db: sqlite3.Connection, now: float, changes: Sequence[Change], free: Sequence[str], holder: str
) -> None:
    """Follow the news, and free the slots that `holder` gives back."""
    for each in changes:
        meter = _meter(db, each.meter, now)
        apply(each, meter, now)
        _keep(db, each.meter, meter)
    for name in free:
        db.execute("DELETE FROM slot WHERE name = ? AND holder = ?", (name, holder))


def note_member(db: sqlite3.Connection, now: float, group: str, member: str, ttl_s: float) -> int:
    """Note the member, count, and forget what is long over."""
    db.execute("DELETE FROM member WHERE until <= ?", (now,))
    db.execute("DELETE FROM slot WHERE until <= ?", (now,))
    db.execute("DELETE FROM meter WHERE max(full_at, born_at) + ? < ?", (FORGET_S, now))
    db.execute("INSERT OR REPLACE INTO member VALUES (?, ?, ?)", (group, member, now + ttl_s))
    return db.execute("SELECT count(*) FROM member WHERE circle = ?", (group,)).fetchone()[0]


def _taken(wait_s: float, now: float, meters: Sequence[Meter]) -> Taken:
    depths = tuple([meter.depth_s(now) for meter in meters])
    return Taken(wait_s, now, depths, tuple([meter.booked_s for meter in meters]))


def _meter(db: sqlite3.Connection, name: str, now: float) -> Meter:
    row = db.execute(
        "SELECT born_at, full_at, booked_s, idle_at, synced_at FROM meter WHERE name = ?", (name,)
    ).fetchone()
    return Meter(born_at=now) if row is None else Meter(*row)


def _keep(db: sqlite3.Connection, name: str, meter: Meter) -> None:
    values = (name, meter.born_at, meter.full_at, meter.booked_s, meter.idle_at, meter.synced_at)
    db.execute("INSERT OR REPLACE INTO meter VALUES (?, ?, ?, ?, ?, ?)", values)


def _slot_wait_s(db: sqlite3.Connection, slot: Slot, holder: str, now: float) -> float:
    if slot.most <= 0:
        return float("inf")
    db.execute("DELETE FROM slot WHERE name = ? AND until <= ?", (slot.name, now))
    here, first, mine = db.execute(
        "SELECT count(*), min(until), total(holder = ?) FROM slot WHERE name = ?", (holder, slot.name)
    ).fetchone()
    return 0.0 if here < slot.most or mine else max(first - now, SLOT_WAIT_LEAST_S)
