"""What every backend's slots do: a place is held by few, given back, and free by itself when its holder is gone."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from stanchion.stores.protocols import Limits, Slot, Take
from tests.contract.conftest import SHARED, Place
from tests.contract.servers import RedisServer
from tests.contract.waiting import until

pytestmark = pytest.mark.timeout(120)

HOUR = 3600.0


async def enter(limits: Limits, holder: str, *, most: int = 2, ttl_s: float = HOUR) -> bool:
    return (await limits.take((), [Slot("s", most, ttl_s)], holder)).wait_s == 0


async def test_as_many_hold_a_slot_as_may(place: Place) -> None:
    some = [place.limits() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(enter(some[n % 3], f"h{n}", most=7)) for n in range(100)]
    assert sum(each.result() for each in asked) == 7


async def test_a_slot_given_back_is_free(place: Place) -> None:
    limits = place.limits()
    assert [await enter(limits, holder) for holder in "abc"] == [True, True, False]
    await limits.change((), ["s"], "another")
    assert not await enter(limits, "c")
    await limits.change((), ["s"], "a")
    assert await enter(limits, "c")
    assert not await enter(limits, "a")


async def test_a_holder_renews_its_slot_and_holds_it_once(place: Place) -> None:
    limits = place.limits()
    assert [await enter(limits, holder) for holder in "aaab"] == [True] * 4
    assert not await enter(limits, "c")
    await limits.change((), ["s"], "a")
    assert await enter(limits, "c")


async def test_a_renewed_slot_expires_later(place: Place) -> None:
    limits = place.limits()
    assert await enter(limits, "a", most=1, ttl_s=0.05)
    assert await enter(limits, "a", most=1, ttl_s=HOUR)
    await asyncio.sleep(0.1)
    assert not await enter(limits, "b", most=1)


async def test_an_expired_holder_does_not_count(place: Place) -> None:
    limits = place.limits()
    assert await enter(limits, "a", ttl_s=0.05)
    assert await enter(limits, "b", ttl_s=HOUR)
    refused = await limits.take((), [Slot("s", 2, HOUR)], "c")
    assert refused.wait_s <= 0.05
    await until(bool, lambda: enter(limits, "c"))
    assert not await enter(limits, "a")


async def test_a_caller_cancelled_while_it_takes_leaves_no_holder_behind(place: Place) -> None:
    limits = place.limits()
    await enter(limits, "first", most=100)  # connected
    for turns in range(60):
        taking = asyncio.ensure_future(limits.take((), [Slot("s", 1, HOUR)], f"h{turns}"))  # noqa: TID251
        for _ in range(turns % 12):
            await asyncio.sleep(0)
        if turns % 3 == 0:
            await asyncio.sleep(0.0002 * (turns % 10))
        taking.cancel()
        await asyncio.wait([taking])
        if not taking.cancelled():  # it came too late to be cancelled: a caller as any other
            await limits.change((), ["s"], f"h{turns}")
    await limits.change((), ["s"], "first")
    await until(bool, lambda: enter(limits, "last", most=1))  # what follows up may be on its way still
    assert (await limits.take([Take("m", 1.0, HOUR)], (), "h")).wait_s == 0  # and answers are not out of step


async def test_after_many_have_left_exactly_what_was_kept_is_booked(place: Place) -> None:
    limits, kept = place.limits(), list[bool]()
    lots = random.Random(7)

    async def takes(stays_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(stays_s):
                kept.append((await limits.take([Take("m", 1.0, 1e9)], (), "h")).wait_s == 0)

    for _ in range(20):
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(takes(lots.uniform(0.0, 0.01)))

    async def booked() -> float:
        return (await limits.take([Take("m", 1e9, -1e9)], [Slot("nobody", 0, 1.0)], "h")).booked_s[0]

    assert all(kept)
    await until(lambda sum_s: sum_s == len(kept), booked)


@asynccontextmanager
async def standstill(place: Place, request: pytest.FixtureRequest) -> AsyncGenerator[None]:
    """The store answers nobody."""
    if place.backend == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.hang()
        yield
        server.go_on()
    elif place.backend == "postgres":
        other = await asyncpg.connect(place.url)
        async with other.transaction():
            await other.fetchval("SELECT stanchion_lock_1(ARRAY['s', 'm'])")
            yield
        await other.close()
    else:
        other = sqlite3.connect(place.url.removeprefix("sqlite://"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
        other.close()


@pytest.mark.parametrize("backend", SHARED)
async def test_what_a_caller_took_that_left_meanwhile_is_given_back(
    place: Place, request: pytest.FixtureRequest
) -> None:
    limits = place.limits()
    await enter(limits, "first", most=9)  # connected
    await limits.change((), ["s"], "first")
    async with standstill(place, request):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await limits.take([Take("m", HOUR, HOUR)], [Slot("s", 1, HOUR)], "gone")
    await until(bool, lambda: enter(limits, "last", most=1))
    assert (await limits.take([Take("m", HOUR, HOUR)], (), "h")).wait_s == 0


HOLDS_AND_WAITS = """
    import asyncio, os, sys
    from stanchion.core.clock import Clock
    from stanchion.stores.opening import open_limits
    from stanchion.stores.protocols import Slot, Take

    async def main():
        limits = open_limits(sys.argv[1], Clock())
        for number in range(int(sys.argv[3])):
            await limits.take([Take("m", 1.0, 1e9)], (), "h")
        taken = await limits.take((), [Slot("s", 1, float(sys.argv[2]))], str(os.getpid()))
        print("taken" if taken.wait_s == 0 else "refused", flush=True)
        if int(sys.argv[3]) == 0:
            await asyncio.sleep(60)
        await limits.aclose()

    asyncio.run(main())
"""


def child(url: str, ttl_s: float, takes: int = 0) -> subprocess.Popen[str]:
    source = textwrap.dedent(HOLDS_AND_WAITS)
    command = [sys.executable, "-c", source, url, str(ttl_s), str(takes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("backend", SHARED)
async def test_a_slot_is_free_again_after_its_holder_was_killed(place: Place) -> None:
    with child(place.url, 1.5) as holder:
        assert await asyncio.to_thread(said, holder) == "taken"
        limits = place.limits()
        refused = await limits.take((), [Slot("s", 1, HOUR)], "me")
        assert 0 < refused.wait_s <= 1.5
        holder.kill()
    await until(bool, lambda: enter(limits, "me", most=1))


@pytest.mark.parametrize("backend", SHARED)
async def test_processes_that_open_the_same_store_act_as_one(place: Place) -> None:
    with child(place.url, HOUR, takes=100) as one, child(place.url, HOUR, takes=100) as two:
        told = {await asyncio.to_thread(said, one), await asyncio.to_thread(said, two)}
        assert await asyncio.to_thread(one.wait) == await asyncio.to_thread(two.wait) == 0
    assert told == {"taken", "refused"}
    after = await place.limits().take([Take("m", 1.0, 1e9)], (), "h")
    assert after.booked_s == (201.0,)
