"""A real Redis or PostgreSQL with budgets that is killed, revived empty, or hung: the cap holds, and what was spent is known again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from stanchion.core.clock import Clock
from stanchion.stores.budgets import Charge, Hold, Settlement
from stanchion.stores.leased_budgets import LeasedBudgets, LeasedBudgetsOptions
from stanchion.stores.opening import open_budgets
from tests.contract.servers import PostgresServer, RedisServer, at_hand
from tests.contract.waiting import until

pytestmark = pytest.mark.timeout(120)

CAP, HOUR = 1000, 3600.0
QUICK = LeasedBudgetsOptions(timeout_s=0.25, beat_s=0.05, dead_s=60.0)


class Replica:
    def __init__(self, url: str, name: str, options: LeasedBudgetsOptions = QUICK) -> None:
        clock = Clock()
        self.told = list[str]()
        self.budgets = LeasedBudgets(
            open_budgets(url, clock),
            name,
            "g",
            clock=clock,
            options=options,
            on_lost=lambda: self.told.append("lost"),
            on_back=lambda: self.told.append("back"),
        )
        self.name = name
        self.spent = 0

    async def spend(self, times: int, amount: int = 10) -> None:
        for number in range(times):
            holder = f"{self.name}-{self.spent}-{number}"
            answer = await self.budgets.reserve(holder, [Hold("p", CAP, amount, amount)], HOUR)
            if answer.granted:
                self.spent += amount
                await self.budgets.settle([Settlement(holder, (Charge("p", amount),))])

    async def lost_after_a_check(self) -> bool:
        await self.budgets.check()
        return self.budgets.lost


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server for the test alone."""
    with at_hand(RedisServer) as server:
        yield server


@pytest.fixture
async def pair(server: RedisServer) -> AsyncIterator[list[Replica]]:
    replicas = [Replica(server.url, name) for name in "ab"]
    for each in (*replicas, *replicas):
        await each.budgets.check()
    yield replicas
    for each in replicas:
        await each.budgets.aclose()


async def test_while_redis_is_dead_replicas_spend_their_shares_and_one_that_comes_back_empty_is_told(
    server: RedisServer, pair: list[Replica]
) -> None:
    a, b = pair
    await a.spend(30)
    await b.spend(30)
    await a.spend(1)  # both know now that 600 or more are spent
    server.kill()
    for each in pair:
        await each.spend(60)
    assert [each.told for each in pair] == [["lost"], ["lost"]]
    assert 610 < a.spent + b.spent <= CAP
    server.start()
    for each in pair:
        await until(lambda lost: not lost, each.lost_after_a_check)
    assert (await a.budgets.spent(["p"]))[0].spent == a.spent + b.spent
    for each in pair:
        await each.spend(60)
    assert 0.95 * CAP <= a.spent + b.spent <= CAP


async def test_a_redis_that_hangs_is_lost_and_what_it_did_unheard_is_given_back(
    server: RedisServer, pair: list[Replica]
) -> None:
    a, b = pair
    await a.spend(50)
    await b.spend(1)
    server.hang()
    await a.spend(60)
    assert a.told == ["lost"]
    server.go_on()
    await until(lambda lost: not lost, a.lost_after_a_check)
    sums = (await a.budgets.spent(["p"]))[0]
    assert (sums.spent, sums.held) == (a.spent + b.spent, 0)


@pytest.mark.parametrize("kind", [RedisServer, PostgresServer])
async def test_a_server_that_dies_before_the_replicas_have_beaten_leaves_each_a_tenth(
    kind: type[RedisServer] | type[PostgresServer],
) -> None:
    """As when many processes start together, and the server goes down in that moment."""
    with at_hand(kind) as server:
        replicas: list[Replica] = []
        for name in "abc":
            replicas.append(Replica(server.url, name, LeasedBudgetsOptions(timeout_s=2.0)))
            await replicas[-1].budgets.check()  # it is the only one, as far as the server knows
        await replicas[0].spend(1)
        server.kill()
        for each in replicas:
            await each.spend(CAP // 10)
        try:
            assert [each.told for each in replicas] == [["lost"]] * 3
            assert 0 < sum(each.spent for each in replicas) <= CAP * 3 // 10
        finally:
            for each in replicas:
                await each.budgets.aclose()
