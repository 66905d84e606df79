"""Stores of answers one behind the other, on virtual time: who is waited for, who rests, what is kept nearer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from stanchion.core.clock import Clock
from stanchion.stores.memory_cache import MemoryCache
from stanchion.stores.protocols import CACHE_ENTRY_BYTES, Kept, StoreLost
from stanchion.stores.tiers import TieredCache
from stanchion.testing import virtual_time

KEY = b"k" * 24


class Far:
    """A store that takes its time, or is lost."""

    def __init__(self) -> None:
        self.kept: dict[bytes, tuple[bytes, float]] = {}
        self.takes_s = 0.0
        self.lost = False
        self.asked = 0

    async def get(self, key: bytes) -> Kept | None:
        await self._answer()
        found = self.kept.get(key)
        return None if found is None else Kept(*found)

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        await self._answer()
        self.kept[key] = (value, ttl_s)

    async def held_bytes(self) -> int:
        return 0

    async def aclose(self) -> None:
        pass

    async def _answer(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        if self.lost:
            raise StoreLost("gone")


class World:
    def __init__(self, *far: Far) -> None:
        self.clock = Clock()
        self.jobs: list[Callable[[], Awaitable[None]]] = []
        self.told: list[tuple[int, bool]] = []
        self.cache = TieredCache(
            MemoryCache(10_000, self.clock.now), far, self.clock, later=self.jobs.append, told=self.tell
        )

    def tell(self, place: int, error: StoreLost | TimeoutError | None) -> None:
        self.told.append((place, error is not None))

    async def do(self) -> None:
        jobs, self.jobs[:] = self.jobs[:], []
        for job in jobs:
            await job()


@virtual_time
async def test_a_store_that_is_slow_is_waited_for_a_moment_and_then_rests() -> None:
    far = Far()
    world, far.takes_s = World(far), 9.0
    for _ in range(3):
        assert await world.cache.get(KEY) is None
    assert (world.clock.now(), far.asked, world.told) == (0.25, 1, [(0, True)])
    far.takes_s = 0.0
    await asyncio.sleep(4.9)
    await world.cache.get(KEY)
    assert far.asked == 1
    await asyncio.sleep(0.1)
    await world.cache.get(KEY)
    assert (far.asked, world.told) == (2, [(0, True), (0, False)])


@virtual_time
async def test_while_a_store_is_lost_the_next_one_is_asked() -> None:
    near, far = Far(), Far()
    world, near.lost, far.kept[KEY] = World(near, far), True, (b"far", 50.0)
    kept = await world.cache.get(KEY)
    assert kept == Kept(b"far", 50.0)
    assert world.cache.memory.look(KEY) == kept
    await world.do()
    assert (near.kept, near.asked) == ({}, 1)  # it rests: nothing is written to it


@virtual_time
async def test_what_waits_to_be_written_is_dropped_while_its_store_rests() -> None:
    far = Far()
    world, far.lost = World(far), True
    for number in range(3):
        await world.cache.put(bytes([number]) * 24, b"x", 60.0)
    await world.do()
    assert (far.asked, world.told) == (1, [(0, True)])
    assert await world.cache.held_bytes() == 3 * (CACHE_ENTRY_BYTES + 25)


@virtual_time
async def test_a_caller_that_leaves_while_a_store_is_asked_leaves_it_in_order() -> None:
    far = Far()
    world, far.takes_s = World(far), 0.2
    looking = asyncio.get_running_loop().create_task(world.cache.get(KEY))
    await asyncio.sleep(0.1)
    looking.cancel()
    await asyncio.wait([looking])
    assert (looking.cancelled(), world.told) == (True, [])
    far.kept[KEY] = (b"far", 50.0)
    assert await world.cache.get(KEY) == Kept(b"far", 50.0)


@virtual_time
async def test_a_smaller_bound_makes_room_at_once() -> None:
    cache = MemoryCache(10_000, Clock().now)
    for number in range(5):
        cache.keep(bytes([number]) * 24, b"x" * 100, 60.0)
    cache.bound(2 * (CACHE_ENTRY_BYTES + 124))
    assert [cache.look(bytes([number]) * 24) is not None for number in range(5)] == [False] * 3 + [True] * 2
    assert cache.size == 2 * (CACHE_ENTRY_BYTES + 124)
