"""What every backend's key book does."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from stanchion.stores.protocols import ORDERS_MOST, KeyOrder, KeyReport
from tests.contract.conftest import SHARED, Place

pytestmark = pytest.mark.timeout(120)

REPORT = KeyReport(
    key="openai#OPENAI_API_KEY",
    replica="host-1/17",
    fingerprint="k_1a2b3c",
    state="active",
    since=12.5,
    error="invalid_api_key",
    error_at=3.25,
    in_flight=4,
    quota={"gpt-4o": "requests 480/500 a minute", "größe 模型": "tokens 1/2 a minute"},
    at=99.0,
)


async def test_the_pepper_is_made_once_by_twenty_who_open_at_the_same_time(place: Place) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(place.key_book().pepper()) for _ in range(20)]
    peppers = {each.result() for each in asked}
    assert len(peppers) == 1
    assert len(peppers.pop()) >= 16
    assert await place.key_book().pepper() == asked[0].result()


async def test_a_report_takes_the_place_of_the_one_before(place: Place) -> None:
    one, two = place.key_book(), place.key_book()
    other = msgspec.structs.replace(REPORT, replica="host-2/3")
    later = msgspec.structs.replace(REPORT, state="quarantined", in_flight=0)
    await one.report([REPORT, other])
    await two.report([later])
    assert list(await one.reports(younger_than_s=60.0)) == [later, other]
    await one.report([])
    assert len(await two.reports(younger_than_s=60.0)) == 2


async def test_an_old_report_is_not_told(place: Place) -> None:
    book = place.key_book()
    await book.report([REPORT])
    await asyncio.sleep(0.02)
    assert list(await book.reports(younger_than_s=0.01)) == []
    assert list(await book.reports(younger_than_s=60.0)) == [REPORT]


async def test_orders_are_numbered_and_told_ascending(place: Place) -> None:
    one, two = place.key_book(), place.key_book()
    order = KeyOrder("openai#A", "quarantine", fingerprint="k_1", reason="insufficient_quota", at=5.0)
    first = await one.order(order)
    second = await two.order(msgspec.structs.replace(order, what="release"))
    assert 0 < first < second
    told = await one.orders(0)
    assert told == [
        msgspec.structs.replace(order, number=first),
        msgspec.structs.replace(order, what="release", number=second),
    ]
    assert [each.number for each in await one.orders(first)] == [second]
    assert list(await one.orders(second)) == []


async def test_orders_given_at_the_same_time_have_numbers_of_their_own(place: Place) -> None:
    books = [place.key_book() for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(books[n % 4].order(KeyOrder(f"k{n}", "rotate"))) for n in range(80)]
    numbers = [each.result() for each in asked]
    assert len(set(numbers)) == 80
    assert [each.number for each in await books[0].orders(0)] == sorted(numbers)


async def test_only_so_many_orders_are_kept(place: Place) -> None:
    book = place.key_book()
    more = 25
    async with asyncio.TaskGroup() as group:
        for number in range(ORDERS_MOST + more):
            group.create_task(book.order(KeyOrder(f"k{number}", "rotate")))
    assert len(await book.orders(0)) == ORDERS_MOST


@pytest.mark.parametrize("backend", SHARED)
async def test_what_was_noted_outlives_its_client(place: Place) -> None:
    book = place.key_book()
    pepper, number = await book.pepper(), await book.order(KeyOrder("k", "rotate"))
    await book.report([REPORT])
    await book.aclose()
    again = place.key_book()
    assert await again.pepper() == pepper
    assert [each.number for each in await again.orders(0)] == [number]
    assert list(await again.reports(younger_than_s=60.0)) == [REPORT]
    assert await again.order(KeyOrder("k", "release")) > number


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_the_file_is_for_its_owner_alone(place: Place) -> None:
    await place.key_book().pepper()
    path = Path(place.url.removeprefix("sqlite://"))
    assert os.stat(path).st_mode & 0o077 == 0
