"""What a line does about an endpoint that had no room after all: it asks when that is over, and not in vain before."""

from __future__ import annotations

import asyncio
import gc
import math
import weakref

import pytest

from stanchion.core.call import Call
from stanchion.core.errors import NotYet
from stanchion.core.reply import Reply
from stanchion.core.service import stack
from stanchion.policies.places import Places
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, virtual_time
from tests.unit.policies.reading import now
from tests.unit.policies.test_line import Place, together


class Full(ScriptedProvider):
    """An endpoint that says it is ready, and whose shared store has no room until `from_s`."""

    def __init__(
        self, from_s: float = math.inf, *, wait_s: float = 0.25, firm: bool = True, places: int = 0
    ) -> None:
        super().__init__(forever=lambda: [1.0, chat_answer()], name="full")
        self.from_s, self.wait_s, self.firm = from_s, wait_s, firm
        self.round_trip_s = 0.002
        self.asked: list[float] = []
        self.places = Places(places)
        self._held = stack(self.places, service=self._ask)

    def ready_in(self, now: float, call: Call | None = None) -> float:
        return max(super().ready_in(now, call), self.places.ready_in())

    def watch(self, wake) -> None:
        super().watch(wake)
        self.places.watch(wake)

    def __call__(self, call: Call, /):  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._held(call)

    async def _ask(self, call: Call) -> Reply:
        self.asked.append(now())
        if self.round_trip_s:
            await asyncio.sleep(self.round_trip_s)
        if now() < self.from_s:
            raise NotYet(self.wait_s, firm=self.firm)
        return await super().__call__(call)


async def asked_in_10_s(provider: Full, waiters: int) -> int:
    place = Place(provider, interactive_wait_most_s=10.0)
    await together(place, *(f"{'abc'[number % 3]}{number}" for number in range(waiters)))
    assert {code for _, _, code in place.failed} == {"line_wait_over"}
    assert len(place.failed) == waiters
    assert place.is_empty()
    return len(provider.asked)


@pytest.mark.parametrize("waiters", [1, 2, 20])
@pytest.mark.parametrize("firm", [True, False])
@virtual_time
async def test_a_store_that_says_not_yet_again_and_again_is_asked_when_it_said(
    waiters: int, firm: bool
) -> None:
    assert 38 <= await asked_in_10_s(Full(places=1, firm=firm), waiters) <= 41


@pytest.mark.parametrize("waiters", [1, 20])
@virtual_time
async def test_a_store_that_says_so_at_once_is_asked_when_it_said(waiters: int) -> None:
    provider = Full()
    provider.round_trip_s = 0.0  # as the share of a store that is lost
    assert 38 <= await asked_in_10_s(provider, waiters) <= 41


@pytest.mark.parametrize("waiters", [1, 7])
@virtual_time
async def test_without_places_each_that_waits_asks_once_in_that_time(waiters: int) -> None:
    assert 38 <= await asked_in_10_s(Full(), waiters) / waiters <= 41


@virtual_time
async def test_a_wake_does_not_end_a_time_that_was_told() -> None:
    provider = Full(0.1, wait_s=10.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(Place(provider).ask("a"))
        await asyncio.sleep(2.0)
        provider.wake()
    assert provider.asked == [0.0, 10.002]


@virtual_time
async def test_a_wake_ends_a_time_that_is_a_guess() -> None:
    provider = Full(0.1, wait_s=10.0, firm=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(Place(provider).ask("a"))
        await asyncio.sleep(2.0)
        provider.wake()
    assert provider.asked == [0.0, 2.0]


@virtual_time
async def test_a_wake_ends_a_time_that_the_endpoint_says_itself_and_takes_back() -> None:
    provider = Full(0.1, wait_s=10.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(Place(provider).ask("a"))
        await asyncio.sleep(0)
        provider.full_until = 10.002
        await asyncio.sleep(2.0)
        provider.full_until = 0.0
        provider.wake()
    assert provider.asked == [0.0, 2.0]


@virtual_time
async def test_all_lines_of_an_endpoint_that_had_no_room_look_when_it_has() -> None:
    provider, other = Full(0.1, wait_s=2.0, places=1), Full(0.1, wait_s=2.0, places=1)
    other.rests_until = math.inf
    place = Place(provider, other)
    async with asyncio.TaskGroup() as group:
        group.create_task(place.ask("a"))
        await asyncio.sleep(0.001)  # its place is taken, and the store is not heard yet
        group.create_task(place.ask("b", call=chat_call().having(never=frozenset({"other"}))))
        group.create_task(place.ask("c"))
    assert [began for began, _ in place.begun] == pytest.approx([3.004, 4.006, 5.008])
    assert (place.failed, place.is_empty()) == ([], True)


@virtual_time
async def test_an_endpoint_that_nobody_keeps_is_not_kept_for_its_rest() -> None:
    provider = Full(wait_s=3600.0)
    place = Place(provider)
    await place.ask("a")
    kept = weakref.ref(provider)
    assert provider in place.room.rests
    place.service._endpoints = lambda target: []
    del provider
    gc.collect()
    assert kept() is None
