"""What every cache does: memory, a SQLite file, Redis, and all of them one behind the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stanchion.core.clock import Clock
from stanchion.core.errors import SettingsError
from stanchion.stores.memory_cache import MemoryCache
from stanchion.stores.opening import open_cache
from stanchion.stores.protocols import CACHE_ENTRY_BYTES, CacheStore, StoreLost
from stanchion.stores.tiers import TieredCache
from tests.contract.servers import RedisServer
from tests.contract.waiting import until

pytestmark = pytest.mark.timeout(120)

KINDS = ["memory", "sqlite", "redis", "tiers"]
SHARED = ["sqlite", "redis"]
ENTRY = CACHE_ENTRY_BYTES + 24  # of an empty value
MOST = 10 * (ENTRY + 100)

Open = Callable[[int], CacheStore]


def name(number: int) -> bytes:
    return number.to_bytes(24, "big")


class Outbox:
    """What is to be written to the far stores, done at once or when the test says so."""

    def __init__(self) -> None:
        self._jobs: list[Callable[[], Awaitable[None]]] = []
        self.told: list[tuple[int, str]] = []

    def later(self, job: Callable[[], Awaitable[None]]) -> None:
        self._jobs.append(job)

    def tell(self, place: int, error: StoreLost | TimeoutError | None) -> None:
        self.told.append((place, "back" if error is None else "lost"))

    async def do(self) -> None:
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            await job()


def tiers(
    box: Outbox, *beyond: CacheStore, most: int = MOST, wait_s: float = 5.0, rest_s: float = 5.0
) -> TieredCache:
    clock = Clock()
    memory = MemoryCache(most, clock.now)
    return TieredCache(memory, beyond, clock, later=box.later, told=box.tell, wait_s=wait_s, rest_s=rest_s)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def opened(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens clients of one empty cache, bounded in bytes as asked."""
    made, redis, file = list[CacheStore](), "", f"sqlite://{tmp_path}/cache.db"
    if kind in ("redis", "tiers"):
        server: RedisServer = request.getfixturevalue("redis_server")
        server.empty()
        redis = server.url

    def open_one(most: int = MOST) -> CacheStore:
        if kind == "memory":
            cache: CacheStore = MemoryCache(most, Clock().now)
        elif kind == "tiers":
            cache = tiers(Outbox(), open_cache(file, most), open_cache(redis, most), most=most)
        else:
            cache = open_cache(file if kind == "sqlite" else redis, most)
        made.append(cache)
        return cache

    yield open_one
    for each in made:
        await each.aclose()


async def test_what_was_put_is_found_with_the_time_it_has_left(opened: Open) -> None:
    cache = opened(MOST)
    assert await cache.get(name(1)) is None
    await cache.put(name(1), b"\0one\xff", 60.0)
    kept = await cache.get(name(1))
    assert kept is not None
    assert kept.value == b"\0one\xff"
    assert 50.0 < kept.left_s <= 60.0
    assert await cache.get(name(2)) is None


async def test_a_later_value_takes_the_place_of_the_one_before(opened: Open) -> None:
    cache = opened(MOST)
    await cache.put(name(1), b"one" * 10, 60.0)
    await cache.put(name(1), b"two", 30.0)
    kept = await cache.get(name(1))
    assert kept is not None
    assert (kept.value, kept.left_s <= 30.0) == (b"two", True)
    assert await cache.held_bytes() == ENTRY + 3


async def test_what_has_expired_is_not_found_and_its_room_is_free_again(opened: Open) -> None:
    cache = opened(MOST)
    for number in range(9):
        await cache.put(name(number), b"x" * 100, 0.05)
    await asyncio.sleep(0.1)
    assert [await cache.get(name(number)) for number in range(9)] == [None] * 9
    await cache.put(name(99), b"y", 60.0)
    assert await cache.held_bytes() == ENTRY + 1


async def test_when_it_is_full_the_least_recently_put_goes_first(opened: Open) -> None:
    cache = opened(MOST)
    for number in range(12):
        await cache.put(name(number), b"x" * 100, 60.0)
        await asyncio.sleep(0.002)  # a clock of milliseconds must tell them apart
    found = [await cache.get(name(number)) is not None for number in range(12)]
    assert found == [False] * 2 + [True] * 10
    assert await cache.held_bytes() == MOST


@pytest.mark.parametrize("kind", ["memory", "redis"], indirect=True)  # a file notes a use once a minute
async def test_what_was_looked_at_stays_longer(opened: Open) -> None:
    cache = opened(MOST)
    for number in range(10):
        await cache.put(name(number), b"x" * 100, 60.0)
        await asyncio.sleep(0.002)
    await cache.get(name(0))
    await cache.put(name(10), b"x" * 100, 60.0)
    assert await cache.get(name(0)) is not None
    assert await cache.get(name(1)) is None


async def test_what_is_larger_than_the_bound_is_not_kept_and_drives_nothing_out(opened: Open) -> None:
    cache = opened(MOST)
    await cache.put(name(1), b"small", 60.0)
    await cache.put(name(2), b"x" * MOST, 60.0)
    assert await cache.get(name(2)) is None
    assert await cache.get(name(1)) is not None
    await cache.put(name(1), b"x" * MOST, 60.0)  # what was there is not the answer any more
    assert await cache.get(name(1)) is None


@pytest.mark.parametrize("kind", SHARED, indirect=True)
async def test_two_clients_share_one_cache_and_one_bound(opened: Open) -> None:
    one, two = opened(MOST), opened(MOST)
    await one.put(name(1), b"one", 60.0)
    assert await two.get(name(1)) is not None
    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task((one, two)[number % 2].put(name(number), b"x" * 100, 60.0))
    assert await one.held_bytes() == await two.held_bytes() == MOST


@pytest.mark.parametrize("kind", SHARED, indirect=True)
async def test_what_was_put_outlives_its_client(opened: Open) -> None:
    cache = opened(MOST)
    await cache.put(name(1), b"one", 60.0)
    await cache.aclose()
    assert await opened(MOST).get(name(1)) is not None


puts = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 400), st.booleans()), max_size=40)


@given(puts)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_put_the_bound_holds_and_nothing_false_is_found(
    opened: Open, steps: list[tuple[int, int, bool]]
) -> None:
    cache, last = opened(MOST), dict[int, bytes]()
    for number, (key, size, look) in enumerate(steps):
        value = b"%04d" % number + b"x" * size
        await cache.put(name(1000 + key), value, 60.0)
        last[key] = value
        kept = await cache.get(name(1000 + key)) if look else None
        assert not look or (kept is not None and kept.value == value)
        assert await cache.held_bytes() <= MOST
    for key, value in last.items():
        kept = await cache.get(name(1000 + key))
        assert kept is None or kept.value == value


async def test_what_is_found_far_away_is_kept_nearer(tmp_path: Path, redis_server: RedisServer) -> None:
    redis_server.empty()
    box, file, far = (
        Outbox(),
        open_cache(f"sqlite://{tmp_path}/c.db", MOST),
        open_cache(redis_server.url, MOST),
    )
    cache = tiers(box, file, far)
    await far.put(name(1), b"far", 60.0)
    kept = await cache.get(name(1))
    assert kept is not None
    assert kept.value == b"far"
    assert cache.memory.look(name(1)) is not None
    assert await file.get(name(1)) is None  # not while somebody waits
    await box.do()
    kept = await file.get(name(1))
    assert kept is not None
    assert kept.left_s <= 60.0
    await cache.aclose()


async def test_what_is_put_reaches_every_store_soon(tmp_path: Path, redis_server: RedisServer) -> None:
    redis_server.empty()
    box, file, far = (
        Outbox(),
        open_cache(f"sqlite://{tmp_path}/c.db", MOST),
        open_cache(redis_server.url, MOST),
    )
    cache = tiers(box, file, far)
    await cache.put(name(1), b"new", 60.0)
    await box.do()
    assert [await each.get(name(1)) is not None for each in (cache.memory, file, far)] == [True] * 3
    await cache.aclose()


async def test_a_store_that_is_killed_costs_no_answer_and_is_told_of_once() -> None:
    with RedisServer() as server:
        box = Outbox()
        cache = tiers(box, open_cache(server.url, MOST))
        await cache.put(name(1), b"one", 60.0)
        await box.do()
        server.kill()
        assert [await cache.get(name(number)) for number in (2, 3)] == [None, None]
        await cache.put(name(4), b"four", 60.0)
        await box.do()
        assert await cache.get(name(4)) is not None  # memory goes on
        assert box.told == [(0, "lost")]
        await cache.aclose()


async def test_a_store_that_hangs_is_waited_for_once_and_comes_back() -> None:
    with RedisServer() as server:
        box = Outbox()
        cache = tiers(box, open_cache(server.url, MOST), wait_s=0.2, rest_s=0.5)
        await cache.get(name(1))
        server.hang()
        for number in range(50):
            assert await cache.get(name(number)) is None
        assert box.told == [(0, "lost")]
        server.go_on()

        async def told() -> list[tuple[int, str]]:
            await cache.get(name(1))
            return box.told

        await until(lambda told: told == [(0, "lost"), (0, "back")], told)
        await cache.aclose()


@pytest.mark.parametrize("url", ["postgresql://host/db", "memory"])
def test_where_no_cache_can_be_kept_is_said(url: str) -> None:
    with pytest.raises(SettingsError, match="a cache cannot be kept"):
        open_cache(url, MOST)
