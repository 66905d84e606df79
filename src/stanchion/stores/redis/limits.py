"""Limits in Redis or Valkey: each step is one Lua script, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from stanchion.stores.memory import FORGET_S
from stanchion.stores.protocols import EPOCH_S, Change, Slot, StoreLost, Take, Taken, giving_back
from stanchion.stores.redis.wire import Argument, Script, Wire

TAKE, CHANGE, BEAT = Script("take"), Script("change"), Script("beat")
_FIXED: tuple[Argument, ...] = (int(EPOCH_S), int(FORGET_S))


class RedisLimits:
    """Limits shared by all who open the same server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def take(self, takes: Sequence[Take], slots: Sequence[Slot], holder: str) -> Taken:
        keys = [_meter(take.meter) for take in takes] + [_slot(slot.name) for slot in slots]
        words: list[Argument] = [holder, len(takes), *_FIXED]
        for take in takes:
            words += (repr(take.cost_s), repr(take.room_s))
        for slot in slots:
            words += (slot.most, repr(slot.ttl_s))

        def undo(answer: Any) -> None:
            """Give back what a caller took that left meanwhile."""
            if float(answer[0]) == 0.0:
                with suppress(StoreLost):  # then the slots expire
                    self._ask_change(giving_back(takes), [slot.name for slot in slots], holder)

        answer = [float(each) for each in await self._wire.run(TAKE, keys, words, undo)]
        cut = 2 + len(takes)
        return Taken(answer[0], answer[1], tuple(answer[2:cut]), tuple(answer[cut:]))

    async def change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        await self._wire.run(CHANGE, *_change(changes, free, holder))

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        return int(await self._wire.run(BEAT, [f"{{stanchion}}:group:{group}"], [member, repr(ttl_s)]))

    async def aclose(self) -> None:
        await self._wire.aclose()

    def _ask_change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        self._wire.ask(CHANGE, *_change(changes, free, holder))


def _change(changes: Sequence[Change], free: Sequence[str], holder: str) -> tuple[list[str], list[Argument]]:
    keys = [_meter(change.meter) for change in changes] + [_slot(name) for name in free]
    words: list[Argument] = [holder, len(changes), *_FIXED]
    for change in changes:
        words += (repr(change.cost_s), repr(change.hold_s))
        seen = change.seen
        told = (seen.at, seen.booked_s, seen.depth_s, seen.gain) if seen is not None else ()
        words += [repr(each) for each in told] or [""] * 4
    return keys, words


def _meter(name: str) -> str:
    return f"{{stanchion}}:meter:{name}"


def _slot(name: str) -> str:
    return f"{{stanchion}}:slot:{name}"
