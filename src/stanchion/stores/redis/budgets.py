"""Budgets in Redis or Valkey: each step is one Lua script, one round trip."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stanchion.stores.admission import Money
from stanchion.stores.budgets import NAMES_MOST, Charge, Hold, Lease, Reserved, Settlement, Sums
from stanchion.stores.redis.admission import BUDGET, admit
from stanchion.stores.redis.limits import BEAT
from stanchion.stores.redis.wire import Argument, Script, Wire
from stanchion.stores.redis.words import MONEY, all_keys, placed, purse_keys, settle_words

_PURSES = Script("purses")
_LOOK_AT = 1000  # keys in one step
_ODD = re.compile(r"[\\*?\[\]^]")  # mean something in a pattern of Redis


class RedisBudgets:
    """Budgets shared by all who open the same server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def reserve(self, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
        reserved = (await admit(self._wire, (), Money(holds, ttl_s), holder)).money
        assert reserved is not None  # noqa: S101 - it was asked for
        return reserved

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._wire.run(BUDGET, *settle_words(settlements))

    async def renew(self, leases: Sequence[Lease], ttl_s: float) -> None:
        places = placed([purse for lease in leases for purse in lease.purses])
        words: list[Argument] = [*MONEY, "renew", repr(ttl_s), len(leases)]
        for lease in leases:
            words += (lease.holder, len(lease.purses), *[places[purse] for purse in lease.purses])
        await self._wire.run(BUDGET, all_keys(places), words)

    async def spend(self, charges: Sequence[Charge], known: Sequence[Charge] = ()) -> None:
        places = placed([each.purse for each in (*charges, *known)])
        least, more = dict.fromkeys(places, 0), dict.fromkeys(places, 0)
        for each in known:
            least[each.purse] = max(least[each.purse], each.amount)
        for each in charges:
            more[each.purse] += each.amount
        words: list[Argument] = [*MONEY, "spend"]
        for purse in places:
            words += (least[purse], more[purse])
        await self._wire.run(BUDGET, all_keys(places), words)

    async def spent(self, purses: Sequence[str]) -> Sequence[Sums]:
        keys = [key for purse in purses for key in purse_keys(purse)]
        answer = [int(each) for each in await self._wire.run(BUDGET, keys, [*MONEY, "spent"])]
        return [Sums(spent, held) for spent, held in zip(answer[::2], answer[1::2], strict=True)]

    async def names(self, begins: str) -> Sequence[str]:
        prefix = purse_keys("")[0]
        shape = prefix + _ODD.sub(r"\\\g<0>", begins) + "*"
        found, cursor = set[str](), b"0"
        while len(found) < NAMES_MOST:
            cursor, keys = await self._wire.run(_PURSES, [], [cursor, shape, _LOOK_AT])
            found.update(key.decode()[len(prefix) :] for key in keys)
            if cursor == b"0":
                break
        return sorted(found)[:NAMES_MOST]

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        return int(await self._wire.run(BEAT, [f"{{stanchion}}:group:{group}"], [member, repr(ttl_s)]))

    async def aclose(self) -> None:
        await self._wire.aclose()
