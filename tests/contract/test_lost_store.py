"""A real Redis that is killed, revived empty, or hung under load, with two replicas on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from stanchion.core.clock import Clock
from stanchion.stores.leased import LeasedLimits, LeasedOptions
from stanchion.stores.memory import MemoryLimits
from stanchion.stores.opening import open_limits
from stanchion.stores.protocols import Slot, StoreLost, Take
from tests.contract.servers import RedisServer, at_hand
from tests.contract.waiting import until

pytestmark = pytest.mark.timeout(120)

HOUR = 3600.0
QUICK = LeasedOptions(timeout_s=0.25, beat_s=0.05, dead_s=60.0)


class Replica:
    def __init__(self, url: str, name: str) -> None:
        clock = Clock()
        self.told = list[str]()
        self.limits = LeasedLimits(
            open_limits(url, clock),
            MemoryLimits(clock.now),
            name,
            "g",
            clock=clock,
            options=QUICK,
            on_lost=lambda: self.told.append("lost"),
            on_back=lambda: self.told.append("back"),
        )
        self.admitted = 0

    async def ask(self, times: int, room_s: float) -> None:
        for _ in range(times):
            taken = await self.limits.take([Take("m", HOUR, room_s)], (), "h")
            self.admitted += taken.wait_s == 0
            await asyncio.sleep(0)

    async def is_back(self) -> bool:
        return self.told[-1:] == ["back"]

    async def is_lost(self) -> bool:
        return self.limits.lost

    async def is_lost_after_a_check(self) -> bool:
        await self.limits.check()
        return self.limits.lost


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server for the test alone."""
    with at_hand(RedisServer) as server:
        yield server


@pytest.fixture
async def replicas(server: RedisServer) -> AsyncIterator[list[Replica]]:
    both = [Replica(server.url, name) for name in "ab"]
    for each in (*both, both[0]):
        await each.limits.check()
    assert [each.limits.replicas for each in both] == [2, 2]
    yield both
    for each in both:
        await each.limits.aclose()


async def load(replicas: list[Replica], times: int, room_s: float) -> list[int]:
    """Ask on both, eight at a time each; returns how many each admitted."""
    before = [each.admitted for each in replicas]
    async with asyncio.TaskGroup() as group:
        for each in replicas:
            for _ in range(8):
                group.create_task(each.ask(times, room_s))
    return [each.admitted - had for each, had in zip(replicas, before, strict=True)]


async def test_a_killed_store_leaves_each_replica_its_share_and_is_told_of_it_when_revived(
    server: RedisServer, replicas: list[Replica]
) -> None:
    async with asyncio.TaskGroup() as group:
        beating = [group.create_task(each.limits.run()) for each in replicas]
        admitted = await load(replicas, 5, 20 * HOUR)
        assert sum(admitted) == 20

        server.kill()
        for each in replicas:
            await until(bool, each.is_lost)
        assert await load(replicas, 20, 60 * HOUR) == [20, 20]  # of 40 that are left each has its half
        assert await load(replicas, 5, 60 * HOUR) == [0, 0]
        held = await replicas[0].limits.take((), [Slot("s", 2, HOUR)], "x")
        assert held.wait_s == 0

        server.start()  # empty
        for each in replicas:
            await until(bool, each.is_back)
        assert await load(replicas, 5, 60 * HOUR) == [0, 0]
        assert sum(await load(replicas, 5, 70 * HOUR)) == 10
        assert (await replicas[1].limits.take((), [Slot("s", 1, HOUR)], "y")).wait_s > 0
        assert [each.told for each in replicas] == [["lost", "back"]] * 2
        for each in beating:
            each.cancel()


async def test_a_store_killed_in_mid_load_never_makes_a_call_fail_or_the_limit_double(
    server: RedisServer, replicas: list[Replica]
) -> None:
    async def kills() -> None:
        await until(lambda number: number > 100, admitted)
        server.kill()

    async def admitted() -> int:
        return sum(each.admitted for each in replicas)

    async with asyncio.TaskGroup() as group:
        group.create_task(kills())
        loading = group.create_task(load(replicas, 400, 1000 * HOUR))
    assert [each.limits.lost for each in replicas] == [True, True]
    # What was on its way to the store when it died may have been booked there unheard: never more than the limit.
    assert 900 <= sum(loading.result()) <= 1000 + 16


async def test_a_hung_store_is_lost_within_the_timeout_and_comes_back(
    server: RedisServer, replicas: list[Replica]
) -> None:
    assert (await replicas[0].limits.take([Take("m", HOUR, 10 * HOUR)], (), "h")).wait_s == 0
    server.hang()
    # All of these must be answered although the store never answers: the test's timeout is the bound.
    assert sum(await load(replicas, 3, 10 * HOUR)) in range(1, 10)
    assert [each.told for each in replicas] == [["lost"], ["lost"]]
    server.go_on()
    for each in replicas:
        await until(lambda lost: not lost, each.is_lost_after_a_check)
    assert [each.told for each in replicas] == [["lost", "back"]] * 2
    assert sum(await load(replicas, 3, 10 * HOUR)) == 0


async def test_a_store_that_is_not_there_is_told_as_lost_without_its_password(server: RedisServer) -> None:
    server.kill()
    limits = open_limits(f"redis://:secret-word@127.0.0.1:{server.port}/0", Clock())
    with pytest.raises(StoreLost) as caught:
        await limits.take([Take("m", 1.0, 1.0)], (), "h")
    assert "secret-word" not in f"{caught.value!r} {caught.value.__cause__!r}"
    await limits.aclose()
    with pytest.raises(StoreLost):
        await limits.take([Take("m", 1.0, 1.0)], (), "h")


async def test_a_client_finds_a_server_that_was_started_anew_and_gives_it_the_scripts(
    server: RedisServer,
) -> None:
    limits = open_limits(server.url, Clock())
    assert (await limits.take([Take("m", 1.0, 9.0)], (), "h")).booked_s == (1.0,)
    server.kill()
    server.start()
    await asyncio.sleep(0.05)  # the event loop hears of the end
    assert (await limits.take([Take("m", 1.0, 9.0)], (), "h")).booked_s == (1.0,)
    server.say(b"SCRIPT FLUSH\r\n")
    assert (await limits.take([Take("m", 1.0, 9.0)], (), "h")).booked_s == (2.0,)
    await limits.aclose()


async def test_a_server_that_became_a_replica_is_lost_and_asked_over_a_new_connection(
    server: RedisServer,
) -> None:
    limits = open_limits(server.url, Clock())
    await limits.take([Take("m", 1.0, 9.0)], (), "h")
    server.say(b"REPLICAOF 127.0.0.1 1\r\n")
    with pytest.raises(StoreLost, match="read only replica"):
        await limits.take([Take("m", 1.0, 9.0)], (), "h")
    had = connections(server)
    server.say(b"REPLICAOF NO ONE\r\n")
    assert (await limits.take([Take("m", 1.0, 9.0)], (), "h")).booked_s == (2.0,)
    assert connections(server) == had + 3  # two that asked, and the new one
    await limits.aclose()


def connections(server: RedisServer) -> int:
    said = server.say(b"INFO stats\r\n").decode()
    return int(said.split("total_connections_received:")[1].split()[0])
