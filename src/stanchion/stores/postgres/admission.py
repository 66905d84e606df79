"""What is asked of limits and budgets together, in PostgreSQL: one function call, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate

from stanchion.stores.admission import Admitted, Money, Part
from stanchion.stores.budgets import LATE_S, Charge, Settlement
from stanchion.stores.postgres.budgets import SETTLE, read_reserved, settle_values
from stanchion.stores.postgres.database import Database
from stanchion.stores.postgres.limits import CHANGE, change_values
from stanchion.stores.protocols import StoreLost, Taken, giving_back

_ADMIT = (
    "SELECT stanchion_admit_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
)


class PostgresAdmissions:
    """Limits and budgets of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, parts: Sequence[Part], money: Money | None, holder: str) -> Admitted:
        def undo(answer: Sequence[float]) -> None:
            """Give back what a caller took that left meanwhile."""
            if _read(answer, parts, money).granted:
                with suppress(StoreLost):  # then slots and leases run out
                    self._give_back(parts, money, holder)

        values = _values(parts, money, holder)
        answer: Sequence[float] = await self._database.value(_ADMIT, *values, left=undo)
        return _read(answer, parts, money)

    def _give_back(self, parts: Sequence[Part], money: Money | None, holder: str) -> None:
        changes = [change for part in parts for change in giving_back(part.takes)]
        free = [slot.name for part in parts for slot in part.slots]
        if changes or free:
            self._database.send(CHANGE, *change_values(changes, free, holder))
        if money is not None:
            charges = tuple([Charge(hold.purse, 0) for hold in money.holds])
            self._database.send(SETTLE, *settle_values([Settlement(holder, charges)]))


def _values(parts: Sequence[Part], money: Money | None, holder: str) -> tuple[object, ...]:
    takes = [take for part in parts for take in part.takes]
    slots = [slot for part in parts for slot in part.slots]
    holds = () if money is None else money.holds
    return (
        list(accumulate(len(part.takes) for part in parts)),
        [take.meter for take in takes],
        [take.cost_s for take in takes],
        [take.room_s for take in takes],
        list(accumulate(len(part.slots) for part in parts)),
        [slot.name for slot in slots],
        [slot.most for slot in slots],
        [slot.ttl_s for slot in slots],
        holder,
        [hold.purse for hold in holds],
        [hold.cap for hold in holds],
        [hold.amount for hold in holds],
        [hold.least for hold in holds],
        [hold.sure for hold in holds],
        [hold.keep_s for hold in holds],
        0.0 if money is None else money.ttl_s,
        LATE_S,
    )


def _read(answer: Sequence[float], parts: Sequence[Part], money: Money | None) -> Admitted:
    at, found = 0, list[Taken]()
    for part in parts:
        depths, end = at + 2 + len(part.takes), at + 2 + 2 * len(part.takes)
        found.append(
            Taken(answer[at], answer[at + 1], tuple(answer[at + 2 : depths]), tuple(answer[depths:end]))
        )
        at = end
    return Admitted(found, None if money is None else read_reserved(answer[at:]))
