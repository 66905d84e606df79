"""What is asked of limits and budgets together, in PostgreSQL: one function call, one round trip.

Calls that wait go together, as in `budgets.py`: they stand in line for the same purses anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from typing import NamedTuple

from stanchion.stores.admission import Admitted, Money, Part
from stanchion.stores.budgets import LATE_S, Charge, Hold, Settlement
from stanchion.stores.postgres.budgets import SETTLE, read_reserved, settle_values
from stanchion.stores.postgres.database import Database
from stanchion.stores.postgres.gathered import Gathered
from stanchion.stores.postgres.limits import CHANGE, change_values
from stanchion.stores.protocols import StoreLost, Taken, giving_back
from stanchion.stores.question import heard

_ADMIT = f"SELECT stanchion_admit_1({', '.join(f'${place}' for place in range(1, 22))})"


class _Asked(NamedTuple):
    holder: str
    parts: Sequence[Part]
    holds: Sequence[Hold]
    ttl_s: float


class PostgresAdmissions:
    """Limits and budgets of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathered = Gathered(database, _ADMIT, _values, _read)

    async def admit(self, parts: Sequence[Part], money: Money | None, holder: str) -> Admitted:
        asked = (
            _Asked(holder, parts, money.holds, money.ttl_s)
            if money is not None
            else _Asked(holder, parts, (), 0.0)
        )

        def undo(answer: Admitted) -> None:
            """Give back what a caller took that left meanwhile."""
            if answer.granted:
                with suppress(StoreLost):  # then slots and leases run out
                    self._give_back(asked)

        future = asyncio.get_running_loop().create_future()
        self._gathered.ask(asked, future, undo)
        return await heard(future, undo)

    def _give_back(self, asked: _Asked) -> None:
        changes = [change for part in asked.parts for change in giving_back(part.takes)]
        free = [slot.name for part in asked.parts for slot in part.slots]
        if changes or free:
            self._database.send(CHANGE, *change_values(changes, free, asked.holder))
        if asked.holds:
            charges = tuple([Charge(hold.purse, 0) for hold in asked.holds])
            self._database.send(SETTLE, *settle_values([Settlement(asked.holder, charges)]))


def _values(together: Sequence[_Asked]) -> tuple[object, ...]:
    parts = [part for each in together for part in each.parts]
    takes = [take for part in parts for take in part.takes]
    seats = [slot for part in parts for slot in part.slots]
    holds = [hold for each in together for hold in each.holds]
    meters, slots = _placed([take.meter for take in takes]), _placed([slot.name for slot in seats])
    return (
        [each.holder for each in together],
        list(accumulate(len(each.parts) for each in together)),
        list(meters),
        list(accumulate(len(part.takes) for part in parts)),
        [meters[take.meter] for take in takes],
        [take.cost_s for take in takes],
        [take.room_s for take in takes],
        list(slots),
        list(accumulate(len(part.slots) for part in parts)),
        [slots[slot.name] for slot in seats],
        [slot.most for slot in seats],
        [slot.ttl_s for slot in seats],
        list(accumulate(len(each.holds) for each in together)),
        [hold.purse for hold in holds],
        [hold.cap for hold in holds],
        [hold.amount for hold in holds],
        [hold.least for hold in holds],
        [hold.sure for hold in holds],
        [hold.keep_s for hold in holds],
        [each.ttl_s for each in together],
        LATE_S,
    )


def _placed(names: Sequence[str]) -> dict[str, int]:
    """Number the names, from 1, each once."""
    return {name: place for place, name in enumerate(dict.fromkeys(names), start=1)}


def _read(asked: _Asked, answer: Sequence[float]) -> tuple[Admitted, int]:
    """Read what became of one call; returns how many words that were, too."""
    at, found = 0, list[Taken]()
    for part in asked.parts:
        depths, end = at + 2 + len(part.takes), at + 2 + 2 * len(part.takes)
        found.append(
            Taken(answer[at], answer[at + 1], tuple(answer[at + 2 : depths]), tuple(answer[depths:end]))
        )
        at = end
    end = at + 2 + 3 * len(asked.holds)
    return Admitted(found, read_reserved(answer[at:end]) if asked.holds else None), end
