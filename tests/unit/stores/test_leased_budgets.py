"""Budgets whose store is lost: each replica keeps to its share, and the store is told when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from stanchion.core.clock import Clock
from stanchion.stores.budgets import Charge, Hold, Lease, Reserved, Settlement
from stanchion.stores.leased_budgets import LeasedBudgets, LeasedBudgetsOptions
from stanchion.stores.memory_budgets import MemoryBudgets
from stanchion.stores.protocols import StoreLost
from stanchion.testing import virtual_time

HOUR = 3600.0


class Shaky:
    """A store that can be lost, hang, come back empty, or do what it is asked and not say so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.store = MemoryBudgets(clock.now)
        self.lost = False
        self.silent = False
        self.slow_s = 0.0

    def empty(self) -> None:
        self.store = MemoryBudgets(self._clock.now)

    def __getattr__(self, name: str) -> Any:
        async def ask(*given: Any) -> Any:
            if self.lost:
                raise StoreLost("gone")
            await asyncio.sleep(self.slow_s)
            answer = await getattr(self.store, name)(*given)
            if self.silent:
                await asyncio.sleep(HOUR)
            return answer

        return ask


class World:
    def __init__(self, replicas: int = 2, *, replicas_least: int = 1, **options: Any) -> None:
        self.clock = Clock()
        self.shaky = Shaky(self.clock)
        self.events = list[str]()
        self.replicas = [
            LeasedBudgets(
                self.shaky,  # type: ignore[arg-type]
                f"r{number}",
                "g",
                clock=self.clock,
                options=LeasedBudgetsOptions(replicas_least=replicas_least, **options),
                on_lost=lambda: self.events.append("lost"),
                on_back=lambda: self.events.append("back"),
            )
            for number in range(replicas)
        ]

    async def check(self) -> None:
        for each in (*self.replicas, *self.replicas):
            await each.check()

    async def sums(self, purse: str = "p") -> tuple[int, int]:
        found = (await self.shaky.store.spent([purse]))[0]
        return found.spent, found.held


def hold(amount: int, purse: str = "p", *, least: int | None = None, cap: int = 100) -> list[Hold]:
    return [Hold(purse, cap, amount, amount if least is None else least, amount)]


async def given(it: LeasedBudgets, holder: str, holds: Sequence[Hold]) -> bool:
    answer: Reserved = await it.reserve(holder, holds, HOUR)
    return answer.granted


def settled(holder: str, amount: int, purse: str = "p") -> list[Settlement]:
    return [Settlement(holder, (Charge(purse, amount),))]


@virtual_time
async def test_while_the_store_is_lost_each_replica_spends_its_share_of_what_was_left() -> None:
    world = World(replicas=2)
    await world.check()
    a, b = world.replicas
    assert await given(a, "a1", hold(30))
    await a.settle(settled("a1", 20))
    assert await given(b, "b1", hold(20))
    assert await given(a, "a2", hold(10))  # a has heard: 20 spent, 30 held, 50 left
    world.shaky.lost = True
    assert [await given(a, f"x{n}", hold(5)) for n in range(6)] == [True] * 5 + [False]
    assert world.events == ["lost"]
    assert [await given(b, f"y{n}", hold(5)) for n in range(9)].count(True) <= 6
    assert not await given(a, "large", hold(26, "never heard of", cap=50))
    assert await given(a, "small", hold(25, "never heard of", cap=50))


@virtual_time
async def test_where_no_share_is_wanted_nothing_is_spent() -> None:
    world = World(share=False)
    world.shaky.lost = True
    with pytest.raises(StoreLost):
        await given(world.replicas[0], "a", hold(1))


@virtual_time
async def test_a_store_that_is_back_hears_what_was_spent_and_what_is_held() -> None:
    world = World(replicas=1)
    it = world.replicas[0]
    assert await given(it, "before", hold(30))
    world.shaky.lost = True
    assert await given(it, "ended", hold(20))
    assert await given(it, "runs", hold(15))
    assert await given(it, "before", hold(5))  # more, of the share
    await it.settle(settled("ended", 11))
    await it.settle(settled("before", 33))
    world.shaky.lost = False
    await world.check()
    assert world.events == ["lost", "back"]
    assert await world.sums() == (11 + 33, 15)
    await it.settle(settled("runs", 7))
    assert await world.sums() == (51, 0)


@virtual_time
async def test_a_store_that_came_back_empty_knows_again_what_was_spent() -> None:
    world = World(replicas=1)
    it = world.replicas[0]
    assert await given(it, "a", hold(80))
    await it.settle(settled("a", 80))
    assert await given(it, "b", hold(1))
    world.shaky.lost = True
    assert not await given(it, "c", hold(90))
    world.shaky.empty()
    world.shaky.lost = False
    await world.check()
    assert not await given(it, "d", hold(30))


@virtual_time
async def test_a_store_that_forgot_unnoticed_is_told_at_the_next_answer() -> None:
    world = World(replicas=1)
    it = world.replicas[0]
    assert await given(it, "a", hold(80))
    await it.settle(settled("a", 80))
    assert await given(it, "b", hold(1))
    await asyncio.sleep(1.0)
    world.shaky.empty()
    await given(it, "c", hold(1))
    assert not await given(it, "d", hold(30))


@virtual_time
async def test_what_was_held_unheard_is_given_back() -> None:
    world = World(replicas=1)
    it = world.replicas[0]
    assert await given(it, "a", hold(1))
    world.shaky.silent = True
    assert await given(it, "b", hold(40))  # of the share: nobody answered in time
    assert await world.sums() == (0, 41)
    await it.settle(settled("b", 25))
    world.shaky.silent = False
    await world.check()
    assert await world.sums() == (25, 1)


@virtual_time
async def test_a_settlement_is_remembered_until_the_store_is_back() -> None:
    world = World(replicas=1)
    it = world.replicas[0]
    assert await given(it, "a", hold(40))
    world.shaky.lost = True
    await it.settle(settled("a", 30))
    await it.renew([Lease("a", ("p",))], HOUR)
    world.shaky.lost = False
    await world.check()
    assert await world.sums() == (30, 0)
    assert await it.spent(["p"]) == await world.shaky.store.spent(["p"])


@virtual_time
async def test_a_call_that_ends_while_the_store_comes_back_is_told() -> None:
    world = World(replicas=1)
    it = world.replicas[0]
    world.shaky.lost = True
    assert [await given(it, holder, hold(20)) for holder in "ab"] == [True, True]
    world.shaky.lost, world.shaky.slow_s = False, 0.1
    async with asyncio.TaskGroup() as group:
        group.create_task(it.check())
        await asyncio.sleep(0.25)
        await it.settle(settled("a", 7))
        await asyncio.sleep(0.1)
        await it.settle(settled("b", 9))
    world.shaky.slow_s = 0.0
    await it.check()
    assert await world.sums() == (16, 0)


@virtual_time
async def test_alone_again_a_replica_counts_those_that_still_beat() -> None:
    world = World(replicas=3)
    await world.check()
    assert [each.replicas for each in world.replicas] == [3, 3, 3]
    await asyncio.sleep(6.0)
    await world.replicas[0].check()
    assert world.replicas[0].replicas == 1


@virtual_time
async def test_in_its_first_second_with_the_store_a_replica_does_not_take_itself_for_the_only_one() -> None:
    world = World(replicas=2, replicas_least=0)
    a, b = world.replicas
    await a.check()  # before the other has beaten
    await b.check()
    world.shaky.lost = True
    assert await given(a, "a", hold(10))
    assert not await given(a, "a2", hold(1))
    assert await given(b, "b", hold(10))
    assert not await given(b, "b2", hold(1))


@virtual_time
async def test_after_a_beat_the_number_of_the_living_is_believed() -> None:
    world = World(replicas=2, replicas_least=0)
    await world.check()
    await asyncio.sleep(1.0)
    await world.check()
    assert [each.replicas for each in world.replicas] == [2, 2]


@virtual_time
async def test_how_many_share_the_budgets_can_be_told_and_fewer_are_not_believed() -> None:
    world = World(replicas=1, replicas_least=4)
    (it,) = world.replicas
    for _ in range(3):
        await it.check()
        await asyncio.sleep(1.0)
    world.shaky.lost = True
    assert await given(it, "a", hold(25))
    assert not await given(it, "a2", hold(1))


@virtual_time
async def test_when_the_store_is_back_and_the_others_have_not_beaten_yet_they_still_count() -> None:
    world = World(replicas=2)
    await world.check()
    a, _ = world.replicas
    assert a.replicas == 2
    world.shaky.lost = True
    await a.check()
    await asyncio.sleep(10.0)  # all beats are forgotten there
    world.shaky.lost = False
    await a.check()
    assert a.replicas == 2
    await asyncio.sleep(5.0)
    await a.check()
    assert a.replicas == 1, "five seconds later who did not beat is gone"
