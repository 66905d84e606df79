"""Limits in PostgreSQL: each step is one function call, one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from stanchion.stores.memory import FORGET_S
from stanchion.stores.postgres.database import Database
from stanchion.stores.postgres.gathered import Gathered
from stanchion.stores.protocols import Change, Slot, StoreLost, Take, Taken, giving_back
from stanchion.stores.question import unheard

_TAKE = "SELECT stanchion_take_1($1, $2, $3, $4, $5, $6, $7)"
CHANGE = "SELECT stanchion_change_1($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_FREE = "SELECT stanchion_free_1($1, $2)"
_BEAT = "SELECT stanchion_beat_1($1, $2, $3, $4)"


class PostgresLimits:
    """Limits shared by all who open the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._freeing = Gathered(database, _FREE, _freed, _nothing)

    async def take(self, takes: Sequence[Take], slots: Sequence[Slot], holder: str) -> Taken:
        def undo(answer: list[float]) -> None:
            """Give back what a caller took that left meanwhile."""
            if answer[0] == 0.0:
                with suppress(StoreLost):  # then the slots expire
                    gone = change_values(giving_back(takes), [slot.name for slot in slots], holder)
                    self._database.send(CHANGE, *gone)

        answer: list[float] = await self._database.value(
            _TAKE,
            [take.meter for take in takes],
            [take.cost_s for take in takes],
            [take.room_s for take in takes],
            [slot.name for slot in slots],
            [slot.most for slot in slots],
            [slot.ttl_s for slot in slots],
            holder,
            left=undo,
        )
        cut = 2 + len(takes)
        return Taken(answer[0], answer[1], tuple(answer[2:cut]), tuple(answer[cut:]))

    async def change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        if changes:
            await self._database.value(CHANGE, *change_values(changes, free, holder))
        elif free:  # each call that ends gives back its own: many go together
            future = asyncio.get_running_loop().create_future()
            self._freeing.ask((free, holder), future, unheard)
            await future

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        return await self._database.value(_BEAT, group, member, ttl_s, FORGET_S)

    async def aclose(self) -> None:
        await self._database.aclose()


def _freed(together: Sequence[tuple[Sequence[str], str]]) -> tuple[object, ...]:
    pairs = [(name, holder) for free, holder in together for name in free]
    return [name for name, _ in pairs], [holder for _, holder in pairs]


def _nothing(asked: object, answer: Sequence[float]) -> tuple[None, int]:
    del asked, answer
    return None, 0


def change_values(changes: Sequence[Change], free: Sequence[str], holder: str) -> tuple[object, ...]:
    """Write what stanchion_change_1 reads."""
    seen = [change.seen for change in changes]
    return (
        [change.meter for change in changes],
        [change.cost_s for change in changes],
        [change.hold_s for change in changes],
        [None if each is None else each.at for each in seen],
        [None if each is None else each.booked_s for each in seen],
        [None if each is None else each.depth_s for each in seen],
        [None if each is None else each.gain for each in seen],
        list(free),
        holder,
    )
