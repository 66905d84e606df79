"""Limits in Redis or Valkey: each step is one Lua script, one round trip."""

from __future__ import annotations

from collections.abc import Sequence

from stanchion.stores.admission import Part
from stanchion.stores.protocols import Change, Slot, Take, Taken
from stanchion.stores.redis.admission import CHANGE, admit
from stanchion.stores.redis.wire import Script, Wire
from stanchion.stores.redis.words import change_words

BEAT = Script("beat")


class RedisLimits:
    """Limits shared by all who open the same server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def take(self, takes: Sequence[Take], slots: Sequence[Slot], holder: str) -> Taken:
        return (await admit(self._wire, (Part(takes, slots),), None, holder)).parts[0]

    async def change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        await self._wire.run(CHANGE, *change_words(changes, free, holder))

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        return int(await self._wire.run(BEAT, [f"{{stanchion}}:group:{group}"], [member, repr(ttl_s)]))

    async def aclose(self) -> None:
        await self._wire.aclose()
