"""Budgets in PostgreSQL: each step is one function call, one round trip; holds that wait go together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from stanchion.stores.budgets import LATE_S, NAMES_MOST, Charge, Hold, Lease, Reserved, Settlement, Sums
from stanchion.stores.memory import FORGET_S
from stanchion.stores.postgres.database import Database
from stanchion.stores.postgres.gathered import Gathered
from stanchion.stores.protocols import StoreLost
from stanchion.stores.question import heard

_RESERVE = "SELECT stanchion_reserve_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
SETTLE = "SELECT stanchion_settle_1($1, $2, $3, $4)"
_RENEW = "SELECT stanchion_renew_1($1, $2, $3, $4)"
_SPEND = "SELECT stanchion_spend_1($1, $2, $3, $4)"
_SPENT = "SELECT stanchion_spent_1($1, $2)"
_NAMES = """
    SELECT name FROM stanchion_purse WHERE starts_with(name, $1) AND keep_until > stanchion_now_1()
    ORDER BY name LIMIT $2
"""
_BEAT = "SELECT stanchion_beat_1($1, $2, $3, $4)"


class _Asked(NamedTuple):
    holder: str
    holds: Sequence[Hold]
    ttl_s: float


class PostgresBudgets:
    """Budgets shared by all who open the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathered = Gathered(database, _RESERVE, _reserve, _read)

    async def reserve(self, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
        def undo(answer: Reserved) -> None:
            """Give back what a caller took that left meanwhile."""
            if answer.granted:
                gone = Settlement(holder, tuple([Charge(hold.purse, 0) for hold in holds]))
                with suppress(StoreLost):  # then its lease runs out
                    self._database.send(SETTLE, *settle_values([gone]))

        future = asyncio.get_running_loop().create_future()
        self._gathered.ask(_Asked(holder, holds, ttl_s), future, undo)
        return await heard(future, undo)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._database.value(SETTLE, *settle_values(settlements))

    async def renew(self, leases: Sequence[Lease], ttl_s: float) -> None:
        rows = [(lease.holder, purse) for lease in leases for purse in lease.purses]
        await self._database.value(
            _RENEW, [each[0] for each in rows], [each[1] for each in rows], ttl_s, LATE_S
        )

    async def spend(self, charges: Sequence[Charge], known: Sequence[Charge] = ()) -> None:
        purses = list(dict.fromkeys(each.purse for each in (*charges, *known)))
        least, more = dict.fromkeys(purses, 0), dict.fromkeys(purses, 0)
        for each in known:
            least[each.purse] = max(least[each.purse], each.amount)
        for each in charges:
            more[each.purse] += each.amount
        await self._database.value(_SPEND, purses, list(least.values()), list(more.values()), LATE_S)

    async def spent(self, purses: Sequence[str]) -> Sequence[Sums]:
        answer: list[int] = await self._database.value(_SPENT, list(purses), LATE_S)
        return [Sums(spent, held) for spent, held in zip(answer[::2], answer[1::2], strict=True)]

    async def names(self, begins: str) -> Sequence[str]:
        return [row[0] for row in await self._database.rows(_NAMES, begins, NAMES_MOST)]

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        return await self._database.value(_BEAT, group, member, ttl_s, FORGET_S)

    async def aclose(self) -> None:
        await self._database.aclose()


def settle_values(settlements: Sequence[Settlement]) -> tuple[object, ...]:
    """Write what stanchion_settle_1 reads."""
    rows = [(each.holder, charge) for each in settlements for charge in each.charges]
    return (
        [holder for holder, _ in rows],
        [charge.purse for _, charge in rows],
        [charge.amount for _, charge in rows],
        LATE_S,
    )


def _reserve(asked: Sequence[_Asked]) -> tuple[object, ...]:
    lines = [(place, hold) for place, each in enumerate(asked, start=1) for hold in each.holds]
    holds = [hold for _, hold in lines]
    return (
        [each.holder for each in asked],
        [each.ttl_s for each in asked],
        [place for place, _ in lines],
        [hold.purse for hold in holds],
        [hold.cap for hold in holds],
        [hold.amount for hold in holds],
        [hold.least for hold in holds],
        [hold.sure for hold in holds],
        [hold.keep_s for hold in holds],
        LATE_S,
    )


def _read(asked: _Asked, answer: Sequence[float]) -> tuple[Reserved, int]:
    end = 2 + 3 * len(asked.holds)
    return read_reserved(answer[:end]), end


def read_reserved(answer: Sequence[float]) -> Reserved:
    """Read what stanchion_reserve_1 says of one holder."""
    return Reserved(
        bool(answer[0]),
        int(answer[1]),
        tuple([int(each) for each in answer[2::3]]),
        tuple([int(each) for each in answer[3::3]]),
        tuple(answer[4::3]),
    )
