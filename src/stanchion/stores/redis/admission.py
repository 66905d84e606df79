"""What is asked of limits and budgets together, in Redis or Valkey: one Lua script, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from stanchion.stores.admission import Admitted, Money, Part
from stanchion.stores.budgets import Charge, Reserved, Settlement
from stanchion.stores.protocols import StoreLost, Taken, giving_back
from stanchion.stores.redis.wire import Script, Wire
from stanchion.stores.redis.words import admit_words, change_words, settle_words

ADMIT, CHANGE, BUDGET = Script("purse", "admit"), Script("change"), Script("purse", "budget")


class RedisAdmissions:
    """Limits and budgets of one server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def admit(self, parts: Sequence[Part], money: Money | None, holder: str) -> Admitted:
        return await admit(self._wire, parts, money, holder)


async def admit(wire: Wire, parts: Sequence[Part], money: Money | None, holder: str) -> Admitted:
    """Take all of it, or nothing."""

    def undo(answer: Any) -> None:
        """Give back what a caller took that left meanwhile."""
        if _read(answer, parts, money).granted:
            with suppress(StoreLost):  # then slots and leases run out
                give_back(wire, parts, money, holder)

    keys, words = admit_words(parts, money, holder)
    return _read(await wire.run(ADMIT, keys, words, undo), parts, money)


def give_back(wire: Wire, parts: Sequence[Part], money: Money | None, holder: str) -> None:
    """Undo what was taken, without waiting."""
    changes = [change for part in parts for change in giving_back(part.takes)]
    free = [slot.name for part in parts for slot in part.slots]
    if changes or free:
        wire.ask(CHANGE, *change_words(changes, free, holder))
    if money is not None:
        charges = tuple([Charge(hold.purse, 0) for hold in money.holds])
        wire.ask(BUDGET, *settle_words([Settlement(holder, charges)]))


def _read(answer: Sequence[bytes], parts: Sequence[Part], money: Money | None) -> Admitted:
    now, at, found = float(answer[0]), 1, list[Taken]()
    for part in parts:
        depths, end = at + 1 + len(part.takes), at + 1 + 2 * len(part.takes)
        found.append(
            Taken(
                float(answer[at]),
                now,
                tuple([float(each) for each in answer[at + 1 : depths]]),
                tuple([float(each) for each in answer[depths:end]]),
            )
        )
        at = end
    return Admitted(found, None if money is None else _reserved(answer[at:]))


def _reserved(answer: Sequence[bytes]) -> Reserved:
    return Reserved(
        answer[0] == b"1",
        int(answer[1]),
        tuple([int(each) for each in answer[2::3]]),
        tuple([int(each) for each in answer[3::3]]),
        tuple([float(each) for each in answer[4::3]]),
    )
