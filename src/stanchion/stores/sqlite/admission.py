"""What is asked of limits and budgets together, in a SQLite file: one transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from stanchion.stores.admission import Admitted, Money, Part
from stanchion.stores.budgets import Charge, Settlement
from stanchion.stores.protocols import StoreLost, giving_back
from stanchion.stores.sqlite import budgets, limits
from stanchion.stores.sqlite.file import SqliteFile


class SqliteAdmissions:
    """Limits and budgets of one file."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def admit(self, parts: Sequence[Part], money: Money | None, holder: str) -> Admitted:
        step: Future[Admitted] = self._file.submit(lambda db, now: _admit(db, now, parts, money, holder))
        try:
            return await asyncio.wrap_future(step)
        except asyncio.CancelledError:
            with suppress(StoreLost):  # closed or full: it expires, and the caller is cancelled all the same
                self._file.submit(lambda db, now: _undo(db, now, step, parts, money, holder))
            raise


def _admit(
    db: sqlite3.Connection, now: float, parts: Sequence[Part], money: Money | None, holder: str
) -> Admitted:
    holds = () if money is None else money.holds
    budgets.sweep(db, now, [hold.purse for hold in holds])  # stays, whatever becomes of the rest
    db.execute("SAVEPOINT admission")
    found = [limits.take(db, now, part.takes, part.slots, holder) for part in parts]
    reserved = None if money is None else budgets.reserve(db, now, holder, holds, money.ttl_s)
    admitted = Admitted(found, reserved)
    if not admitted.granted:
        db.execute("ROLLBACK TO admission")
        found = [
            limits.as_they_are(db, now, part.takes, taken.wait_s)
            for part, taken in zip(parts, found, strict=True)
        ]
        if reserved is not None:
            reserved = budgets.as_they_are(db, holds, reserved.cut, granted=reserved.granted)
        admitted = Admitted(found, reserved)
    db.execute("RELEASE admission")
    return admitted


def _undo(
    db: sqlite3.Connection,
    now: float,
    step: Future[Admitted],
    parts: Sequence[Part],
    money: Money | None,
    holder: str,
) -> None:
    """Give back what a caller took that left meanwhile.  Its step was the one before, so it is decided."""
    if step.cancelled() or isinstance(step.exception(), StoreLost) or not step.result().granted:
        return
    for part in parts:
        limits.change(db, now, giving_back(part.takes), [slot.name for slot in part.slots], holder)
    if money is not None:
        budgets.settle(db, now, [Settlement(holder, tuple([Charge(hold.purse, 0) for hold in money.holds]))])
