"""What replicas tell each other about keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stanchion.keys.exchange import BY_HAND, KeyExchange
from stanchion.stores.memory import MemoryKeyBook
from stanchion.stores.protocols import KeyOrder
from stanchion.testing import virtual_time
from tests.unit.keys.ringed import NEVER, NEW, OLD, Place, Ringed, fail, held, now, refused, work


def replica(book: MemoryKeyBook, name: str, **places: Place) -> tuple[Ringed, KeyExchange]:
    at = Ringed(**(places or {"ONE": Place(OLD, NEVER), "TWO": Place("sk-2", NEVER)}))
    exchange = KeyExchange(at.ring, book, at.clock, wall=wall)
    exchange.replica = name
    return at, exchange


def wall() -> float:
    return 1_000_000.0 + now()


async def two() -> tuple[MemoryKeyBook, tuple[Ringed, KeyExchange], tuple[Ringed, KeyExchange]]:
    book = MemoryKeyBook(wall)
    here, there = replica(book, "here"), replica(book, "there")
    for _, exchange in (here, there):
        await exchange.begin()
        await exchange.once()
    return book, here, there


async def meet(*exchanges: KeyExchange) -> None:
    for _ in range(2):
        for exchange in exchanges:
            await exchange.once()


@virtual_time
async def test_what_one_replica_learns_of_a_key_the_others_know_without_a_call() -> None:
    _, (here, one), (there, other) = await two()
    fail(here.slots["ONE"], refused("credit_balance_exhausted", 429))
    await meet(one, other)
    slot = there.slots["ONE"]
    assert (slot.word, there.slots["TWO"].word) == ("quarantined", "active")
    assert slot.quarantine is not None
    assert (slot.quarantine.code, slot.quarantine.by_call, slot.ready_in(now())) == (
        "credit_balance_exhausted",
        True,
        300.0,
    )
    await asyncio.sleep(300.0)
    work(there.slots["ONE"])
    await meet(other, one)
    assert (here.slots["ONE"].word, there.slots["ONE"].word) == ("active", "active")


@virtual_time
async def test_an_order_of_ones_own_is_not_obeyed_when_it_comes_back() -> None:
    book = MemoryKeyBook(wall)
    here, one = replica(book, "here")
    await one.begin()
    fail(here.slots["ONE"], refused())
    assert here.slots["ONE"].quarantine is not None
    here.ring.release(here.slots["ONE"].quarantine, "order")  # by another's word, before ours was sent
    await one.once()
    assert [order.what for order in await book.orders(0)] == ["quarantine"]
    assert here.slots["ONE"].word == "active"


@virtual_time
async def test_a_quarantine_is_of_one_value_and_another_replica_with_a_newer_one_goes_on() -> None:
    book = MemoryKeyBook(wall)
    here, one = replica(book, "here")
    there, other = replica(book, "there", ONE=Place(NEW, NEVER))
    await one.begin()
    await other.begin()
    fail(here.slots["ONE"], refused())
    await meet(one, other)
    assert (here.slots["ONE"].word, there.slots["ONE"].word) == ("quarantined", "active")


@virtual_time
async def test_one_that_starts_later_takes_over_what_is_in_force() -> None:
    book, (here, one), _ = await two()
    fail(here.slots["ONE"], refused("credit_balance_exhausted", 429))
    fail(here.slots["TWO"], refused())
    await one.once()
    here.ring.release(here.slots["TWO"].quarantine, "probe")  # pyright: ignore[reportArgumentType]
    await one.once()
    await asyncio.sleep(100.0)
    late, exchange = replica(book, "late")
    await exchange.begin()
    assert [slot.word for slot in late.slots.values()] == ["quarantined", "active"]
    assert late.slots["ONE"].ready_in(now()) == 200.0


@virtual_time
async def test_a_persons_quarantine_holds_until_a_person_ends_it() -> None:
    book, (here, one), (there, other) = await two()
    await book.order(KeyOrder(key="a#ONE", what="quarantine", reason=BY_HAND, at=wall()))
    await meet(one, other)
    await asyncio.sleep(100_000.0)
    assert [each.slots["ONE"].word for each in (here, there)] == ["quarantined", "quarantined"]
    assert here.slots["ONE"].quarantine is not None
    assert here.slots["ONE"].quarantine.code == "operator"
    await book.order(KeyOrder(key="a#ONE", what="release", reason=BY_HAND, at=wall()))
    await meet(one, other)
    assert [each.slots["ONE"].word for each in (here, there)] == ["active", "active"]


@virtual_time
async def test_an_order_to_rotate_is_obeyed_at_once() -> None:
    book = MemoryKeyBook(wall)
    place = Place(OLD, every_s=300.0)
    at, exchange = replica(book, "here", ONE=place)
    await exchange.begin()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(at.watch.run()), group.create_task(exchange.run())]
        await asyncio.sleep(5.0)
        place.value = NEW
        await book.order(KeyOrder(key="a#ONE", what="rotate", at=wall()))
        await asyncio.sleep(5.0)
        assert held(at.slots["ONE"]) == NEW
        reports = await book.reports(younger_than_s=10.0)
        assert [report.fingerprint for report in reports] == [at.ring.fingerprint(at.slots["ONE"])]
        for task in tasks:
            task.cancel()


@virtual_time
async def test_a_report_says_how_a_key_is_and_holds_no_key() -> None:
    book, (here, one), _ = await two()
    here.ring.quota = lambda key: {"gpt-4o": f"requests 480/500 a minute of {key}"}
    await asyncio.sleep(50.0)
    lease = here.slots["TWO"].lease(now())
    fail(here.slots["ONE"], refused())
    await asyncio.sleep(7.0)
    await one.once()
    reports = {each.key: each for each in await book.reports(younger_than_s=10.0) if each.replica == "here"}
    first, second = reports["a#ONE"], reports["a#TWO"]
    assert (first.state, first.error) == ("quarantined: invalid_api_key", "invalid_api_key")
    assert (first.since, first.error_at, first.at) == (wall() - 7.0, wall() - 7.0, wall())
    assert (second.state, second.in_flight) == ("active", 1)
    assert second.quota == {"gpt-4o": "requests 480/500 a minute of a#TWO"}
    assert first.fingerprint.startswith("kf_")
    assert "canary" not in repr(reports)
    del lease


class Broken(MemoryKeyBook):
    """A book that cannot be reached for a while."""

    broken = True

    async def pepper(self) -> bytes:
        if self.broken:
            raise OSError("password=hunter2")
        return await super().pepper()

    async def orders(self, after: int) -> Sequence[KeyOrder]:
        if self.broken:
            raise OSError("password=hunter2")
        return await super().orders(after)


@virtual_time
async def test_a_book_that_cannot_be_reached_stops_nobody_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = Broken(wall)
    at, exchange = replica(book, "here")
    await exchange.begin()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(exchange.run())
        await asyncio.sleep(60.0)
        fail(at.slots["ONE"], refused())
        work(at.slots["TWO"])
        assert [record.message for record in caplog.records].count("key.book_lost") == 1
        assert "hunter2" not in caplog.text
        book.broken = False
        await asyncio.sleep(5.0)
        assert [order.what for order in await book.orders(0)] == ["quarantine"]
        reports = await book.reports(younger_than_s=10.0)
        assert {report.key: report.state for report in reports}["a#TWO"] == "active"
        task.cancel()
    await exchange.aclose()


@virtual_time
async def test_a_book_that_hangs_holds_the_start_up_for_two_seconds_at_most() -> None:
    class Hanging(MemoryKeyBook):
        async def pepper(self) -> bytes:
            await asyncio.sleep(1000.0)
            return b""

    _, exchange = replica(Hanging(), "here")
    await exchange.begin()
    assert now() == 2.0
