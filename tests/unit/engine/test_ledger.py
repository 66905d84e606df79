"""Lines go to the store in batches, wait while it is lost, and are never written twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec

from stanchion.core.clock import Clock
from stanchion.engine.ledger import Ledger
from stanchion.engine.outbox import Outbox
from stanchion.engine.settings import LedgerOptions
from stanchion.observe.metrics import Metrics
from stanchion.stores.ledger import SUMS, Asked, Line
from stanchion.stores.memory_ledger import MemoryLedger
from stanchion.stores.protocols import StoreLost
from stanchion.testing import virtual_time

DAY_S = 86_400.0
WALL = 1000 * DAY_S
ONE = Line(
    "req_0", 0, WALL, "", "", "", "m", "p/m", "chat/completions", "m", "completed", "", "", False, 1.0,
    (1, *[0] * (len(SUMS) - 1)),
)  # fmt: skip


class Slow(MemoryLedger):
    """A store that takes its time, and can be lost before or after it has written."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = list[int]()
        self.lost = ""
        self.closed = False

    async def add(self, lines: Sequence[Line]) -> int:
        self.batches.append(len(lines))
        await asyncio.sleep(0.1)
        if self.lost == "before":
            raise StoreLost("gone")
        new = await super().add(lines)
        if self.lost == "after":
            raise StoreLost("no answer came")
        return new

    async def forget(self, before: float) -> int:
        if self.lost:
            raise StoreLost("gone")
        return await super().forget(before)

    async def aclose(self) -> None:
        self.closed = True


class Desk:
    def __init__(self, **options) -> None:
        self.store, self.metrics, self.clock = Slow(), Metrics(), Clock()
        self.outbox = Outbox(self.metrics)
        self.ledger = Ledger(
            self.store, LedgerOptions(**options), self.outbox, self.clock, self.metrics, wall=lambda: WALL
        )

    def post(self, *numbers: int, at: float = WALL) -> None:
        for number in numbers:
            self.ledger.post(msgspec.structs.replace(ONE, call=f"req_{number}", at=at))

    def count(self, outcome: str) -> float:
        return self.metrics.ledger_lines.of(outcome).value

    async def calls(self) -> int:
        rows = await self.store.used(Asked())
        return rows[0].of("calls") if rows else 0


@asynccontextmanager
async def desk(**options) -> AsyncGenerator[Desk]:
    made = Desk(**options)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.outbox.run())
        try:
            yield made
        finally:
            task.cancel()


@virtual_time
async def test_lines_that_come_within_a_moment_are_written_together() -> None:
    async with desk() as it:
        for number in range(3):
            it.post(number)
            await asyncio.sleep(0.03)
        await asyncio.sleep(0.15)
        assert it.store.batches == [3]
        it.post(3)
        await asyncio.sleep(0.5)
        assert (it.store.batches, await it.calls()) == ([3, 1], 4)


@virtual_time
async def test_what_comes_while_a_batch_is_written_goes_in_whole_batches_at_once_and_the_rest_a_moment_later() -> (
    None
):
    async with desk() as it:
        it.post(0)
        await asyncio.sleep(0.15)
        it.post(*range(1, 2400))
        await asyncio.sleep(0.6)
        assert it.store.batches == [1, 400, 400, 400, 400, 400]
        await asyncio.sleep(0.5)
        assert it.store.batches[6:] == [399]
        assert (await it.calls(), it.count("written"), it.count("dropped")) == (2400, 2400, 0)
        it.post(5000)
        await asyncio.sleep(0.5)
        assert await it.calls() == 2401


@virtual_time
async def test_lines_wait_while_the_store_is_lost_and_are_booked_once() -> None:
    async with desk() as it:
        for way in ("before", "after"):
            it.store.lost = way
            it.ledger._forget_at = 1e9  # not what is asked here
            it.post(1, 2, 3)
            await asyncio.sleep(3.5)
            assert it.metrics.ledger_store_lost.of().value == 1
            it.store.lost = ""
            await asyncio.sleep(2.0)
            assert it.metrics.ledger_store_lost.of().value == 0
            assert await it.calls() == 3
        assert it.count("dropped") == 0


@virtual_time
async def test_no_more_wait_than_may_and_the_rest_is_dropped_and_counted() -> None:
    async with desk(waiting_most=10) as it:
        it.store.lost = "before"
        it.post(*range(25))
        await asyncio.sleep(5.0)
        it.store.lost = ""
        await asyncio.sleep(2.0)
        assert (await it.calls(), it.count("written"), it.count("dropped")) == (10, 10, 15)


@virtual_time
async def test_at_the_end_what_waits_is_written_or_counted_as_dropped() -> None:
    it = Desk()
    it.post(1, 2)
    await it.ledger.aclose()
    assert (await it.calls(), it.store.closed) == (2, True)
    it = Desk()
    it.store.lost = "before"
    it.post(1, 2)
    await it.ledger.aclose()
    assert (it.count("dropped"), it.store.closed) == (2, True)


@virtual_time
async def test_old_lines_are_forgotten_and_sums_stay() -> None:
    async with desk(keep_days=30.0) as it:
        it.post(1, at=WALL - 40 * DAY_S)
        it.post(2, at=WALL - 20 * DAY_S)
        await asyncio.sleep(1.0)
        await asyncio.sleep(601.0)
        it.post(3)
        await asyncio.sleep(1.0)
        assert [line.call for line in it.store.lines.values()] == ["req_2", "req_3"]
        assert await it.calls() == 3
    async with desk(keep_days=0.0) as it:
        it.post(1, at=WALL - 4000 * DAY_S)
        await asyncio.sleep(1.0)
        await asyncio.sleep(601.0)
        it.post(2)
        await asyncio.sleep(1.0)
        assert len(it.store.lines) == 2
