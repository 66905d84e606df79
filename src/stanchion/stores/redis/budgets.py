"""Budgets in Redis or Valkey: each step is one Lua script, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from stanchion.stores.budgets import LATE_S, Charge, Hold, Lease, Reserved, Settlement, Sums
from stanchion.stores.protocols import EPOCH_S, StoreLost
from stanchion.stores.redis.limits import BEAT
from stanchion.stores.redis.wire import Argument, Script, Wire

BUDGET = Script("budget")
_FIXED: tuple[Argument, ...] = (int(EPOCH_S), int(LATE_S))


class RedisBudgets:
    """Budgets shared by all who open the same server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def reserve(self, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
        words: list[Argument] = ["reserve", *_FIXED, holder, repr(ttl_s)]
        for hold in holds:
            words += (hold.cap, hold.amount, hold.least, hold.sure, repr(hold.keep_s))

        def undo(answer: Any) -> None:
            """Give back what a caller took that left meanwhile."""
            if answer[0] == b"1":
                gone = Settlement(holder, tuple([Charge(hold.purse, 0) for hold in holds]))
                with suppress(StoreLost):  # then its lease runs out
                    self._wire.ask(BUDGET, *_settle([gone]))

        keys = [key for hold in holds for key in _keys(hold.purse)]
        answer = await self._wire.run(BUDGET, keys, words, undo)
        return Reserved(
            answer[0] == b"1",
            int(answer[1]),
            tuple([int(each) for each in answer[2::3]]),
            tuple([int(each) for each in answer[3::3]]),
            tuple([float(each) for each in answer[4::3]]),
        )

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._wire.run(BUDGET, *_settle(settlements))

    async def renew(self, leases: Sequence[Lease], ttl_s: float) -> None:
        places = _places([purse for lease in leases for purse in lease.purses])
        words: list[Argument] = ["renew", *_FIXED, repr(ttl_s), len(leases)]
        for lease in leases:
            words += (lease.holder, len(lease.purses), *[places[purse] for purse in lease.purses])
        await self._wire.run(BUDGET, _all_keys(places), words)

    async def spend(self, charges: Sequence[Charge], known: Sequence[Charge] = ()) -> None:
        places = _places([each.purse for each in (*charges, *known)])
        least, more = dict.fromkeys(places, 0), dict.fromkeys(places, 0)
        for each in known:
            least[each.purse] = max(least[each.purse], each.amount)
        for each in charges:
            more[each.purse] += each.amount
        words: list[Argument] = ["spend", *_FIXED]
        for purse in places:
            words += (least[purse], more[purse])
        await self._wire.run(BUDGET, _all_keys(places), words)

    async def spent(self, purses: Sequence[str]) -> Sequence[Sums]:
        keys = [key for purse in purses for key in _keys(purse)]
        answer = [int(each) for each in await self._wire.run(BUDGET, keys, ["spent", *_FIXED])]
        return [Sums(spent, held) for spent, held in zip(answer[::2], answer[1::2], strict=True)]

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        return int(await self._wire.run(BEAT, [f"{{stanchion}}:group:{group}"], [member, repr(ttl_s)]))

    async def aclose(self) -> None:
        await self._wire.aclose()


def _settle(settlements: Sequence[Settlement]) -> tuple[list[str], list[Argument]]:
    places = _places([charge.purse for each in settlements for charge in each.charges])
    words: list[Argument] = ["settle", *_FIXED, len(settlements)]
    for each in settlements:
        words += (each.holder, len(each.charges))
        for charge in each.charges:
            words += (places[charge.purse], charge.amount)
    return _all_keys(places), words


def _places(purses: Sequence[str]) -> dict[str, int]:
    """Number the purses, from 1, each once."""
    return {purse: place for place, purse in enumerate(dict.fromkeys(purses), start=1)}


def _all_keys(places: dict[str, int]) -> list[str]:
    return [key for purse in places for key in _keys(purse)]


def _keys(purse: str) -> tuple[str, str]:
    return f"{{stanchion}}:purse:{purse}", f"{{stanchion}}:leases:{purse}"
