"""Workers that share the money of a job, in virtual time over a store in memory."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from stanchion.batch.answers import Answer
from stanchion.batch.lanes.lane import Item
from stanchion.batch.leased_cap import LeasedCap, Purse, opened
from stanchion.core.clock import Clock
from stanchion.stores.budgets import Hold, Reserved
from stanchion.stores.memory_budgets import MemoryBudgets
from stanchion.stores.protocols import StoreLost
from stanchion.testing import virtual_time
from tests.unit.batch.test_cap import facts, request

MOST = 200_000  # micro-dollars
PURSE = Purse("job", MOST, MOST // 32)


def loop_time() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def worker(
    store: MemoryBudgets, *, dies: bool = False, purse: Purse = PURSE
) -> AsyncGenerator[LeasedCap]:
    """A worker's cap; one that dies gives nothing back."""
    cap = LeasedCap(purse, store, Clock(), facts)
    async with asyncio.TaskGroup() as group:
        leasing = group.create_task(cap.run())
        try:
            yield cap
        finally:
            leasing.cancel()
    if not dies:
        await cap.aclose()


def item(number: int, output: int) -> Item:
    return Item(number.to_bytes(16, "big"), number, request(max_tokens=output))


async def ask(cap: LeasedCap, source: random.Random, *, number: int, rows: int) -> int:
    """Try rows until no more may be tried, a dozen at once; return how many were."""
    tried = 0

    async def one(asked: Item) -> None:
        await asyncio.sleep(source.uniform(0.1, 2.0))
        cost = source.randint(0, cap.cost_most(asked.request))
        cap.settle(asked, Answer(200, cost_micro_usd=cost))

    async with asyncio.TaskGroup() as group:
        open_calls = set[asyncio.Task[None]]()
        while tried < rows:
            asked = item(number * 100_000 + tried, source.randint(1, 400))
            while len(open_calls) >= 12 or not cap.admit(asked):
                if not (open_calls or cap.waits):
                    return tried
                await asyncio.sleep(0.05)
                open_calls = {each for each in open_calls if not each.done()}
            open_calls.add(group.create_task(one(asked)))
            tried += 1
    return tried


@virtual_time
async def test_workers_together_never_pass_the_cap_and_use_nearly_all_of_it() -> None:
    store = MemoryBudgets(loop_time)
    async with worker(store) as one, worker(store) as two, worker(store) as three:
        async with asyncio.TaskGroup() as group:
            for number, cap in enumerate((one, two, three)):
                group.create_task(ask(cap, random.Random(number), number=number, rows=10_000))

            async def watch() -> None:
                while any(cap.waits for cap in (one, two, three)):
                    assert sum(cap.spent + cap.held for cap in (one, two, three)) <= MOST
                    await asyncio.sleep(0.1)

            group.create_task(watch())
        spent = [cap.spent for cap in (one, two, three)]
    assert 0.98 * MOST <= sum(spent) <= MOST
    assert min(spent) > 0
    (sums,) = await store.spent([PURSE.name])
    assert (sums.spent, sums.held) == (sum(spent), 0)


@virtual_time
async def test_what_a_worker_had_leased_that_died_counts_as_spent() -> None:
    store = MemoryBudgets(loop_time)
    async with worker(store, dies=True) as dead:
        await ask(dead, random.Random(1), number=1, rows=20)
        leased = dead.most
    assert leased > dead.spent
    async with worker(store) as other:
        began_at = loop_time()
        await ask(other, random.Random(2), number=2, rows=10_000)
        assert loop_time() - began_at < 600.0, "it does not wait for the dead"
    assert 0.95 * (MOST - leased) <= other.spent <= MOST - leased


@virtual_time
async def test_what_a_slow_worker_has_leased_stays_its_own() -> None:
    store = MemoryBudgets(loop_time)
    async with worker(store) as slow:
        await ask(slow, random.Random(1), number=1, rows=5)
        await asyncio.sleep(3600.0)
        (sums,) = await store.spent([PURSE.name])
        assert sums.spent + sums.held == slow.most
        assert sums.held > 0


@virtual_time
async def test_a_worker_that_ends_gives_back_what_it_did_not_spend() -> None:
    store = MemoryBudgets(loop_time)
    async with worker(store) as first:
        await ask(first, random.Random(1), number=1, rows=5)
        assert first.most > first.spent
    (sums,) = await store.spent([PURSE.name])
    assert (sums.spent, sums.held) == (first.spent, 0)


class Lost(MemoryBudgets):
    """A store that is away."""

    async def reserve(self, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
        raise StoreLost("away")


@virtual_time
async def test_a_store_that_is_lost_ends_the_work_after_five_minutes_and_nothing_is_spent() -> None:
    cap = LeasedCap(PURSE, Lost(loop_time), Clock(), facts)
    leasing = asyncio.get_running_loop().create_task(cap.run())
    assert not cap.admit(item(1, 100))
    assert cap.waits
    await asyncio.sleep(290.0)
    assert not leasing.done()
    await leasing
    assert "start it again" in str(cap.error)
    assert not cap.waits
    assert loop_time() <= 310.0
    assert cap.spent == cap.held == 0


class Restored(MemoryBudgets):
    """A store that can be brought back to what it was."""

    def keep(self) -> None:
        self._kept = copy.deepcopy(self._purses)

    def restore(self) -> None:
        self._purses = self._kept


@virtual_time
async def test_a_store_that_forgot_the_money_gives_none_of_it_out_again() -> None:
    store = Restored(loop_time)
    store.keep()
    await asyncio.sleep(1.0)
    purse = await opened(PURSE, store)
    async with worker(store, purse=purse) as one, worker(store, purse=purse) as two:
        await ask(one, random.Random(1), number=1, rows=100)
        most = one.most
        await asyncio.sleep(1.0)
        store.restore()
        assert await ask(two, random.Random(2), number=2, rows=10_000) == 0
        assert two.spent == two.most == 0
        assert await ask(one, random.Random(3), number=3, rows=10_000) > 0, "what it has leased is its own"
        assert one.spent <= most
        for each in (one, two):
            assert "run the same command again" in str(each.error)


@virtual_time
async def test_a_store_that_came_back_with_an_older_purse_is_found_out_by_whoever_had_leased_more() -> None:
    store = Restored(loop_time)
    purse = await opened(PURSE, store)
    async with worker(store, purse=purse) as one, worker(store, purse=purse) as two:
        await ask(two, random.Random(2), number=2, rows=5)
        store.keep()
        await ask(one, random.Random(1), number=1, rows=100)
        most = one.most
        store.restore()
        await ask(one, random.Random(3), number=3, rows=10_000)
        assert one.spent <= most
        assert "run the same command again" in str(one.error)
        leased = two.most
        await ask(two, random.Random(4), number=4, rows=10_000)
        assert two.spent <= leased, "nobody leases after that"


@virtual_time
async def test_a_purse_that_nobody_forgot_is_used_wholly() -> None:
    store = MemoryBudgets(loop_time)
    await asyncio.sleep(10.0)
    async with worker(store, purse=await opened(PURSE, store)) as cap:
        await ask(cap, random.Random(1), number=1, rows=10_000)
        assert cap.error is None
        assert 0.98 * MOST <= cap.spent <= MOST
