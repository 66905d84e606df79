"""Budgets in a SQLite file: shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from stanchion.stores.budgets import LATE_S, NAMES_MOST, Charge, Hold, Lease, Reserved, Settlement, Sums
from stanchion.stores.protocols import StoreLost
from stanchion.stores.sqlite.file import SqliteFile
from stanchion.stores.sqlite.limits import note_member

_NAMES = "SELECT name FROM purse WHERE substr(name, 1, ?) = ? AND keep_until > ? ORDER BY name LIMIT ?"


class SqliteBudgets:
    """Budgets of one machine's processes."""

    def __init__(self, file: str | SqliteFile) -> None:
        """`file`: a path, or a file that other stores share."""
        self._file = SqliteFile(file) if isinstance(file, str) else file

    async def reserve(self, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
        step: Future[Reserved] = self._file.submit(lambda db, now: reserve(db, now, holder, holds, ttl_s))
        try:
            return await asyncio.wrap_future(step)
        except asyncio.CancelledError:
            self._file.submit(lambda db, now: _undo(db, now, step, holder, holds))
            raise

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._file.run(lambda db, now: settle(db, now, settlements))

    async def renew(self, leases: Sequence[Lease], ttl_s: float) -> None:
        def step(db: sqlite3.Connection, now: float) -> None:
            sweep(db, now, {purse for lease in leases for purse in lease.purses})
            rows = [(now + ttl_s, purse, lease.holder) for lease in leases for purse in lease.purses]
            db.executemany("UPDATE lease SET until = ? WHERE purse = ? AND holder = ? AND NOT dead", rows)

        await self._file.run(step)

    async def spend(self, charges: Sequence[Charge], known: Sequence[Charge] = ()) -> None:
        def step(db: sqlite3.Connection, now: float) -> None:
            sweep(db, now, {each.purse for each in (*charges, *known)})
            least = [(each.amount, each.purse) for each in known]
            db.executemany("UPDATE purse SET spent = max(spent, ?) WHERE name = ?", least)
            more = [(each.amount, each.purse) for each in charges]
            db.executemany("UPDATE purse SET spent = spent + ? WHERE name = ?", more)

        await self._file.run(step)

    async def spent(self, purses: Sequence[str]) -> Sequence[Sums]:
        def step(db: sqlite3.Connection, now: float) -> list[Sums]:
            sweep(db, now, purses)
            return [Sums(spent, held) for spent, held, _ in [_purse(db, purse) for purse in purses]]

        return await self._file.run(step)

    async def names(self, begins: str) -> Sequence[str]:
        def step(db: sqlite3.Connection, now: float) -> list[str]:
            rows = db.execute(_NAMES, (len(begins), begins, now, NAMES_MOST)).fetchall()
            return [name for (name,) in rows]

        return await self._file.run(step)

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        return await self._file.run(lambda db, now: note_member(db, now, group, member, ttl_s))

    async def aclose(self) -> None:
        await self._file.aclose()


def reserve(db: sqlite3.Connection, now: float, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
    """Hold all of it, or nothing."""
    sweep(db, now, [hold.purse for hold in holds])
    granted, cut = True, 0
    for hold in holds:
        spent, held, _ = _purse(db, hold.purse)
        left = hold.cap - spent - held
        if left < hold.amount:
            granted = granted and left >= hold.least
            cut = max(cut, hold.amount - left)
    cut = cut if granted else 0
    for hold in holds if granted else ():
        amount = max(hold.least, hold.amount - cut) if cut else hold.amount
        _hold(db, hold, holder, amount, now + ttl_s)
        keep_until = now + hold.keep_s if hold.keep_s else math.inf
        db.execute("UPDATE purse SET keep_until = ? WHERE name = ?", (keep_until, hold.purse))
    return as_they_are(db, holds, cut, granted=granted)


def as_they_are(db: sqlite3.Connection, holds: Sequence[Hold], cut: int, *, granted: bool) -> Reserved:
    """Tell what is spent and held of each purse."""
    after = [_purse(db, hold.purse) for hold in holds]
    spent, held, born_at = zip(*after, strict=True) if after else ((), (), ())
    return Reserved(granted, cut, spent, held, born_at)


def _hold(db: sqlite3.Connection, hold: Hold, holder: str, amount: int, until: float) -> None:
    sure, revived = min(hold.sure, amount), 0
    known = db.execute(
        "SELECT amount, sure, dead FROM lease WHERE purse = ? AND holder = ?", (hold.purse, holder)
    ).fetchone()
    total, surely = amount, sure
    if known is not None:
        total += known[0]
        if known[2]:  # it lives after all
            revived = known[1]
        else:
            surely += known[1]
    row = (hold.purse, holder, total, surely, until)
    db.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, 0, ?)", row)
    db.execute(
        "UPDATE purse SET held = held + ?, spent = spent - ? WHERE name = ?", (amount, revived, hold.purse)
    )


def settle(db: sqlite3.Connection, now: float, settlements: Sequence[Settlement]) -> None:
    """Put what was spent in the place of what was held."""
    sweep(db, now, {charge.purse for each in settlements for charge in each.charges})
    for each in settlements:
        for charge in each.charges:
            known = db.execute(
                "DELETE FROM lease WHERE purse = ? AND holder = ? RETURNING amount, sure, dead",
                (charge.purse, each.holder),
            ).fetchone()
            if known is not None:
                spent = charge.amount - known[1] if known[2] else charge.amount
                db.execute(
                    "UPDATE purse SET held = held - ?, spent = spent + ? WHERE name = ?",
                    (known[0], spent, charge.purse),
                )


def _undo(
    db: sqlite3.Connection, now: float, step: Future[Reserved], holder: str, holds: Sequence[Hold]
) -> None:
    """Give back what a caller took that left meanwhile.  Its step was the one before, so it is decided."""
    if step.cancelled() or isinstance(step.exception(), StoreLost) or not step.result().granted:
        return
    settle(db, now, [Settlement(holder, tuple([Charge(hold.purse, 0) for hold in holds]))])


def sweep(db: sqlite3.Connection, now: float, purses: Iterable[str]) -> None:
    """Make the purses that are missing or were kept long enough, and end the leases that ran out."""
    for purse in purses:
        gone = db.execute("DELETE FROM purse WHERE name = ? AND keep_until <= ?", (purse, now)).rowcount
        if gone:
            db.execute("DELETE FROM lease WHERE purse = ?", (purse,))
        db.execute("INSERT OR IGNORE INTO purse VALUES (?, ?, 0, 0, ?)", (purse, now, math.inf))
        over = db.execute(
            "SELECT holder, amount, sure, dead FROM lease WHERE purse = ? AND until <= ?", (purse, now)
        ).fetchall()
        for holder, amount, sure, dead in over:
            if dead:
                db.execute("DELETE FROM lease WHERE purse = ? AND holder = ?", (purse, holder))
                continue
            db.execute(
                "UPDATE lease SET dead = 1, amount = 0, until = ? WHERE purse = ? AND holder = ?",
                (now + LATE_S, purse, holder),
            )
            db.execute(
                "UPDATE purse SET held = held - ?, spent = spent + ? WHERE name = ?", (amount, sure, purse)
            )


def _purse(db: sqlite3.Connection, name: str) -> tuple[int, int, float]:
    return db.execute("SELECT spent, held, born_at FROM purse WHERE name = ?", (name,)).fetchone()
