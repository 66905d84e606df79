"""All that a call asks of the stores before it is sent, in one atomic step: limits, slots and money, or nothing.

A *part* is what one policy wants: callers' limits are one, the provider's quota is another, so that each is told by
itself whether it was the one without room.  Limits and money that lie in different stores take two steps, and
`Apart` gives back what the first gave if the second does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from stanchion.stores.budgets import Budgets, Hold, Reserved
from stanchion.stores.protocols import Limits, Slot, StoreLost, Take, Taken, giving_back


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one policy wants."""

    takes: Sequence[Take]
    slots: Sequence[Slot]


class Money(msgspec.Struct, frozen=True, gc=False):
    """What is to be held of each purse, for so long."""

    holds: Sequence[Hold]
    ttl_s: float


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """What became of it: everything was taken, or nothing."""

    parts: Sequence[Taken]  # of each part: its `wait_s` is 0 where it has room, whatever the others have
    money: Reserved | None = None  # None where none was asked for, or where it was not asked any more

    @property
    def granted(self) -> bool:
        """Say whether everything was taken."""
        return (self.money is None or self.money.granted) and not any(each.wait_s for each in self.parts)


class Admissions(Protocol):
    """Limits and budgets that are asked together."""

    async def admit(self, parts: Sequence[Part], money: Money | None, holder: str) -> Admitted:
        """Take all of it for `holder`, or nothing.  Names each meter, slot and purse once.

        What is true of `Limits.take` and `Budgets.reserve` is true of this: if the caller is cancelled
        meanwhile, what was taken is given back.
        """
        ...


class Apart:
    """Limits and budgets of two stores: asked one after the other, and nothing is kept unless all gave."""

    def __init__(self, limits: Limits, budgets: Budgets | None) -> None:
        self._limits = limits
        self._budgets = budgets

    async def admit(self, parts: Sequence[Part], money: Money | None, holder: str) -> Admitted:
        found, reserved = list[Taken](), None
        try:
            for part in parts:
                found.append(await self._limits.take(part.takes, part.slots, holder))
                if found[-1].wait_s:
                    break
            else:
                if money is not None and self._budgets is not None:
                    reserved = await self._budgets.reserve(holder, money.holds, money.ttl_s)
        except BaseException:
            await self._give_back(
                parts[: len(found)], holder
            )  # cancelled once more: slots expire, meters run off
            raise
        found += [_UNASKED] * (len(parts) - len(found))
        admitted = Admitted(found, reserved)
        if admitted.granted:
            return admitted
        took = [not each.wait_s and each is not _UNASKED for each in found]
        await self._give_back([part for part, had in zip(parts, took, strict=True) if had], holder)
        left = [
            _without(part, taken) if had else taken
            for part, taken, had in zip(parts, found, took, strict=True)
        ]
        return Admitted(left, reserved)

    async def _give_back(self, parts: Sequence[Part], holder: str) -> None:
        changes = [change for part in parts for change in giving_back(part.takes)]
        free = [slot.name for part in parts for slot in part.slots]
        if changes or free:
            with suppress(StoreLost):
                await self._limits.change(changes, free, holder)


_UNASKED = Taken(0.0, 0.0, (), ())


def _without(part: Part, taken: Taken) -> Taken:
    """Tell how it stands when what was taken is given back."""
    depth_s = tuple([max(0.0, d - each.cost_s) for each, d in zip(part.takes, taken.depth_s, strict=True)])
    booked_s = tuple([b - each.cost_s for each, b in zip(part.takes, taken.booked_s, strict=True)])
    return Taken(0.0, taken.at, depth_s, booked_s)
