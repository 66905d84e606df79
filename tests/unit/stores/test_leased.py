"""Leased limits: the store decides while it answers, a share of it after that, and nothing is unlimited."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest

from stanchion.core.clock import Clock
from stanchion.stores.leased import LeasedLimits, LeasedOptions
from stanchion.stores.memory import MemoryLimits
from stanchion.stores.protocols import Change, Seen, Slot, StoreLost, Take, Taken
from stanchion.testing import virtual_time

HANGS = math.inf


class Shaky(MemoryLimits):
    """A store that is far away: in memory, and a test may take it away, hang it or empty it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock.now)
        self.away = False
        self.slow_s = 0.0
        self.mute = False
        self.asked = 0

    async def _reach(self) -> None:
        self.asked += 1
        if self.slow_s:
            await asyncio.sleep(min(self.slow_s, 1e6))
        if self.away:
            raise StoreLost("away")

    async def take(self, takes: Sequence[Take], slots: Sequence[Slot], holder: str) -> Taken:
        await self._reach()
        taken = await super().take(takes, slots, holder)
        if self.mute:
            raise StoreLost("done, and the answer is lost")
        return taken

    async def change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        await self._reach()
        await super().change(changes, free, holder)

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        await self._reach()
        return await super().beat(group, member, ttl_s)

    def emptied(self) -> None:
        self._meters.clear()
        self._holders.clear()
        self._groups.clear()


class Replica:
    def __init__(self, clock: Clock, store: Shaky, name: str = "a", **options: float) -> None:
        self.told = list[str]()
        self.limits = LeasedLimits(
            store,
            MemoryLimits(clock.now),
            name,
            "g",
            clock=clock,
            options=LeasedOptions(**options),  # type: ignore[arg-type]
            on_lost=lambda: self.told.append("lost"),
            on_back=lambda: self.told.append("back"),
        )

    async def takes(self, cost_s: float, room_s: float, meter: str = "m") -> int:
        """Take until it is refused; returns how often."""
        number = 0
        while (await self.limits.take([Take(meter, cost_s, room_s)], (), "h")).wait_s == 0:
            number += 1
        return number


async def two() -> tuple[Shaky, Replica, Replica]:
    clock = Clock()
    store = Shaky(clock)
    replicas = Replica(clock, store, "a"), Replica(clock, store, "b")
    for each in (*replicas, replicas[0]):
        await each.limits.check()
    return store, *replicas


@virtual_time
async def test_while_the_store_lives_it_decides() -> None:
    store, one, other = await two()
    assert (one.limits.replicas, other.limits.replicas) == (2, 2)
    assert await one.takes(1.0, 10.0) == 10
    assert await other.takes(1.0, 10.0) == 0
    assert one.told == other.told == []
    await other.limits.change([Change("m", cost_s=-3.0)], (), "h")
    assert await other.takes(1.0, 10.0) == 3
    assert store.asked


@virtual_time
async def test_without_the_store_all_replicas_together_stay_within_the_limit() -> None:
    store, one, other = await two()
    store.away = True
    assert [await one.takes(1.0, 10.0), await other.takes(1.0, 10.0)] == [5, 5]
    assert one.told == other.told == ["lost"]
    await asyncio.sleep(4.0)  # the limit gives back four, each its half
    assert [await one.takes(1.0, 10.0), await other.takes(1.0, 10.0)] == [2, 2]


@virtual_time
async def test_without_the_store_the_shares_begin_where_it_stood() -> None:
    store, one, other = await two()
    taken = [await each.limits.take([Take("m", 3.0, 10.0)], (), "h") for each in (one, other)]
    assert [each.wait_s for each in taken] == [0, 0]
    await one.limits.take([Take("m", 1e9, -1e9)], (), "h")  # refused, and told how deep it is
    store.away = True
    assert [await one.takes(1.0, 10.0), await other.takes(1.0, 10.0)] == [2, 2]


@virtual_time
async def test_a_call_larger_than_a_share_passes_when_the_meter_is_full() -> None:
    store, one, _ = await two()
    store.away = True
    assert await one.takes(8.0, 10.0) == 1
    await asyncio.sleep(16.0)
    assert await one.takes(8.0, 10.0) == 1


@virtual_time
async def test_a_store_that_hangs_is_lost_after_the_timeout_and_costs_it_once() -> None:
    store, one, _ = await two()
    store.slow_s = HANGS
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert (await one.limits.take([Take("m", 1.0, 10.0)], (), "h")).wait_s == 0
    assert loop.time() - before == 0.25
    assert (await one.limits.take([Take("m", 1.0, 10.0)], (), "h")).wait_s == 0
    assert loop.time() - before == 0.25
    assert one.told == ["lost"]


@virtual_time
async def test_a_change_that_the_store_does_not_take_is_done_here() -> None:
    store, one, _ = await two()
    await one.limits.take([Take("m", 1.0, 10.0)], (), "h")
    store.away = True
    await one.limits.change([Change("m", cost_s=2.0), Change("n", hold_s=10.0)], (), "h")
    assert one.told == ["lost"]
    assert await one.takes(1.0, 10.0) == 2  # of 5: 1 + 2 * 2 of 10 are gone
    assert await one.takes(1.0, 10.0, "n") == 0


@virtual_time
async def test_slots_are_shared_out_and_at_least_one_is_left() -> None:
    store, one, other = await two()
    store.away = True

    async def enter(replica: Replica, name: str, most: int) -> list[bool]:
        answers = [await replica.limits.take((), [Slot(name, most, 60.0)], f"h{n}") for n in range(4)]
        return [each.wait_s == 0 for each in answers]

    assert await enter(one, "s", 5) == [True, True, False, False]
    assert await enter(other, "s", 5) == [True, True, False, False]
    assert await enter(one, "t", 1) == [True, False, False, False]
    assert await enter(one, "u", 0) == [False] * 4
    await one.limits.change((), ["s"], "h0")
    assert (await one.limits.take((), [Slot("s", 5, 60.0)], "h3")).wait_s == 0


@virtual_time
async def test_a_slot_held_before_the_store_was_lost_counts_here() -> None:
    store, one, _ = await two()
    assert (await one.limits.take((), [Slot("s", 2, 60.0)], "x")).wait_s == 0
    store.away = True
    assert (await one.limits.take((), [Slot("s", 2, 60.0)], "y")).wait_s > 0


@virtual_time
async def test_a_store_that_came_back_empty_is_told_what_was_used() -> None:
    store, one, other = await two()
    store.away = True
    assert [await one.takes(1.0, 10.0), await other.takes(1.0, 10.0)] == [5, 5]
    await one.limits.take((), [Slot("s", 4, 60.0)], "x")
    store.emptied()
    store.away = False
    await one.limits.check()
    await other.limits.check()
    assert one.told == other.told == ["lost", "back"]
    assert [await one.takes(1.0, 10.0), await other.takes(1.0, 10.0)] == [0, 0]
    await asyncio.sleep(2.0)
    assert [await one.takes(1.0, 10.0), await other.takes(1.0, 10.0)] == [2, 0]
    assert [(await store.take((), [Slot("s", 2, 60.0)], h)).wait_s == 0 for h in "ab"] == [True, False]


@virtual_time
async def test_a_slot_given_back_meanwhile_is_given_back_to_the_store_when_it_is_back() -> None:
    store, one, other = await two()
    await one.limits.take((), [Slot("s", 1, 60.0)], "x")
    store.away = True
    await one.limits.change((), ["s"], "x")
    store.away = False
    assert (await other.limits.take((), [Slot("s", 1, 60.0)], "y")).wait_s > 0
    await one.limits.check()
    assert (await other.limits.take((), [Slot("s", 1, 60.0)], "y")).wait_s == 0


@virtual_time
async def test_a_slot_taken_there_unheard_is_given_back_when_the_store_is_back() -> None:
    store, one, _ = await two()
    store.mute = True
    assert (await one.limits.take((), [Slot("s", 1, 60.0)], "x")).wait_s == 0
    await one.limits.change((), ["s"], "x")
    store.mute = False
    await one.limits.check()
    assert (await store.take((), [Slot("s", 1, 60.0)], "y")).wait_s == 0


@virtual_time
async def test_a_provider_word_goes_to_the_one_who_booked_the_call() -> None:
    store, one, _ = await two()
    far = await one.limits.take([Take("m", 1.0, 100.0)], (), "h")
    store.away = True
    near = await one.limits.take([Take("m", 1.0, 100.0)], (), "h")
    assert near.at < 0 <= far.at
    await one.limits.change([Change("m", seen=Seen(near.at, near.booked_s[0], 40.0))], (), "h")
    await one.limits.change([Change("m", seen=Seen(far.at, far.booked_s[0], 90.0))], (), "h")
    assert (await one.limits.take([Take("m", 0.0, 100.0)], (), "h")).depth_s == (40.0,)
    store.away = False
    await one.limits.check()
    await one.limits.change([Change("m", seen=Seen(near.at, near.booked_s[0], 90.0))], (), "h")
    assert (await one.limits.take([Take("m", 0.0, 100.0)], (), "h")).depth_s == (40.0,)


@virtual_time
async def test_the_store_is_asked_for_every_second_and_only_then() -> None:
    store, one, _ = await two()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(one.limits.run())
        await asyncio.sleep(0.5)
        store.away = True
        await one.limits.take([Take("m", 1.0, 10.0)], (), "h")
        asked = store.asked
        await one.limits.take([Take("m", 1.0, 10.0)], (), "h")
        await asyncio.sleep(3.0)
        assert store.asked == asked + 3
        assert one.told == ["lost"]
        store.away = False
        await asyncio.sleep(1.0)
        assert one.told == ["lost", "back"]
        running.cancel()


@virtual_time
async def test_a_store_lost_again_while_it_is_told_stays_lost() -> None:
    store, one, _ = await two()
    store.away = True
    await one.takes(1.0, 10.0)
    store.away, store.slow_s = False, 0.2

    async def goes_away() -> None:
        await asyncio.sleep(0.1)
        store.slow_s = HANGS

    async with asyncio.TaskGroup() as group:
        group.create_task(goes_away())
        group.create_task(one.limits.check())
    assert one.told == ["lost"]
    assert one.limits.lost


@virtual_time
async def test_fewer_replicas_are_not_believed_right_after_the_store_is_back() -> None:
    store, one, other = await two()
    store.away = True
    await one.limits.check()
    await other.limits.check()
    store.emptied()
    store.away = False
    await one.limits.check()
    assert one.limits.replicas == 2
    await asyncio.sleep(5.0)
    await one.limits.check()
    assert one.limits.replicas == 1


@virtual_time
async def test_a_replica_that_starts_without_the_store_reckons_with_as_many_as_it_was_told() -> None:
    clock = Clock()
    store = Shaky(clock)
    store.away = True
    one = Replica(clock, store, replicas_least=4)
    assert await one.takes(1.0, 20.0) == 5


@virtual_time
async def test_a_caller_that_leaves_is_no_sign_of_a_lost_store() -> None:
    store, one, _ = await two()
    store.slow_s = 0.1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(one.limits.take([Take("m", 1.0, 10.0)], (), "h"), 0.05)
    assert one.told == []


@virtual_time
async def test_a_slot_given_back_while_the_store_is_told_is_not_left_there() -> None:
    store, one, other = await two()
    slot = Slot("s", 2, 600.0)
    for call in ("x", "y"):
        await one.limits.take((), [slot], call)
    store.away = True
    await one.limits.check()
    store.away, store.slow_s = False, 0.1

    async def ends(call: str, at: float) -> None:
        await asyncio.sleep(at)
        await one.limits.change((), ["s"], call)

    async with asyncio.TaskGroup() as group:
        group.create_task(one.limits.check())  # the beat until 0.1, then one call after the other
        group.create_task(ends("x", 0.15))
        group.create_task(ends("y", 0.35))  # while the first is given back
    assert not one.limits.lost
    for call in ("v", "w"):
        assert (await other.limits.take((), [slot], call)).wait_s == 0


@virtual_time
async def test_what_is_owed_to_a_store_that_is_lost_again_is_owed_on() -> None:
    store, one, other = await two()
    await one.limits.take((), [Slot("s", 1, 600.0)], "x")
    store.away = True
    await one.limits.change((), ["s"], "x")
    store.away, store.slow_s = False, 0.2

    async def goes_away() -> None:
        await asyncio.sleep(0.3)  # while the slot is given back
        store.away = True

    async with asyncio.TaskGroup() as group:
        group.create_task(one.limits.check())
        group.create_task(goes_away())
    assert one.limits.lost
    store.away, store.slow_s = False, 0.0
    await one.limits.check()
    assert (await other.limits.take((), [Slot("s", 1, 600.0)], "y")).wait_s == 0
