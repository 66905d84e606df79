"""What every backend's admission does: limits, slots and money of a call in one step, all of it or nothing."""

from __future__ import annotations

import asyncio

import pytest

from stanchion.stores.admission import Admitted, Apart, Money, Part
from stanchion.stores.budgets import Charge, Hold, Settlement
from stanchion.stores.opening import Opened
from stanchion.stores.protocols import Change, Slot, Take
from tests.contract.conftest import Place
from tests.contract.waiting import until

pytestmark = pytest.mark.timeout(120)

HOUR = 3600.0
MONEY = Money((Hold("p", 100, 30, 10),), HOUR)


def part(meter: str, cost_s: float = 10.0, *slots: Slot) -> Part:
    return Part((Take(meter, cost_s, 60.0),), slots)


def slot(name: str = "open", most: int = 1) -> Slot:
    return Slot(name, most, HOUR)


async def standing(store: Opened) -> tuple[list[float], tuple[int, int]]:
    """How deep meters are, to the second, and what is spent and held."""
    taken = await store.limits.take([Take(each, 0.0, HOUR) for each in ("caller", "quota")], (), "look")
    sums = (await store.budgets.spent(["p"]))[0]
    return [float(round(each)) for each in taken.depth_s], (sums.spent, sums.held)


async def test_all_parts_and_the_money_are_taken_in_one_step(place: Place) -> None:
    store = place.together()
    found = await store.admissions.admit([part("caller", 10.0, slot()), part("quota", 20.0)], MONEY, "a")
    assert found.granted
    assert [each.wait_s for each in found.parts] == [0.0, 0.0]
    assert [round(each.depth_s[0]) for each in found.parts] == [10, 20]
    assert [each.booked_s for each in found.parts] == [(10.0,), (20.0,)]
    assert found.money is not None
    assert (found.money.cut, found.money.spent, found.money.held) == (0, (0,), (30,))
    assert await standing(store) == ([10.0, 20.0], (0, 30))
    assert (await store.limits.take((), [slot()], "b")).wait_s > 0


async def short_of_limit(store: Opened) -> Admitted:
    return await store.admissions.admit([part("caller", 59.0), part("quota", 5.0)], MONEY, "b")


async def short_of_quota(store: Opened) -> Admitted:
    return await store.admissions.admit([part("caller", 5.0), part("quota", 59.0)], MONEY, "b")


async def short_of_slot(store: Opened) -> Admitted:
    return await store.admissions.admit([part("caller", 5.0, slot()), part("quota", 5.0)], MONEY, "b")


async def short_of_money(store: Opened) -> Admitted:
    holds = (Hold("q", 100, 1, 1), Hold("p", 100, 71, 71))
    return await store.admissions.admit([part("caller", 5.0), part("quota", 5.0)], Money(holds, HOUR), "b")


@pytest.mark.parametrize("ask", [short_of_limit, short_of_quota, short_of_slot, short_of_money])
async def test_what_lacks_one_of_them_takes_nothing_of_any(place: Place, ask) -> None:
    store = place.together()
    assert (
        await store.admissions.admit([part("caller", 10.0, slot()), part("quota", 20.0)], MONEY, "a")
    ).granted
    before = await standing(store)
    refused = await ask(store)
    assert not refused.granted
    assert [each.wait_s > 0 for each in refused.parts] == [
        ask in (short_of_limit, short_of_slot),
        ask is short_of_quota,
    ]
    assert await standing(store) == before
    await store.limits.change((), ["open"], "a")
    assert (await store.limits.take((), [slot()], "c")).wait_s == 0.0  # the refused one is not in it
    assert (await store.budgets.spent(["q"]))[0].held == 0


async def test_a_refusal_tells_what_there_is_without_the_call(place: Place) -> None:
    store = place.together()
    await store.admissions.admit([part("caller", 10.0)], MONEY, "a")
    refused = await store.admissions.admit([part("caller", 5.0), part("quota", 61.0)], MONEY, "b")
    assert refused.granted  # larger than the room, and the meter was full
    refused = await store.admissions.admit([part("caller", 5.0), part("quota", 61.0)], MONEY, "c")
    assert not refused.granted
    assert round(refused.parts[0].depth_s[0]) == 15
    if place.shared:  # memory asks one after the other, and money not at all when a limit refuses
        assert refused.money is not None
        assert refused.money.held == (60,)


async def test_money_is_cut_to_what_is_left_in_the_same_step(place: Place) -> None:
    store = place.together()
    for holder in "abc":
        await store.admissions.admit([part("caller", 1.0)], MONEY, holder)
    found = await store.admissions.admit([part("caller", 1.0)], MONEY, "d")
    assert found.money is not None
    assert (found.granted, found.money.cut, found.money.held) == (True, 20, (100,))
    await store.budgets.settle([Settlement(each, (Charge("p", 5),)) for each in "abcd"])
    await store.limits.change([Change("caller", cost_s=-4.0)], (), "")
    assert await standing(store) == ([0.0, 0.0], (20, 0))


async def test_many_at_once_never_pass_the_limit_nor_the_cap(place: Place) -> None:
    stores = [place.together() for _ in range(3)]
    money = Money((Hold("p", 100, 3, 3),), HOUR)
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(
                stores[number % 3].admissions.admit(
                    [part("caller", 1.0, slot(most=25)), part("quota", 2.0)], money, f"h{number}"
                )
            )
            for number in range(90)
        ]
    granted = sum(each.result().granted for each in asked)
    assert granted == 25
    assert (await stores[0].budgets.spent(["p"]))[0].held == 3 * granted


async def test_a_caller_cancelled_meanwhile_leaves_nothing_taken(place: Place) -> None:
    store = place.together()
    await store.budgets.spent(["p"])  # connected
    for turns in range(60):
        parts = [part("caller", 10.0, slot()), part("quota", 10.0)]
        asking = asyncio.ensure_future(store.admissions.admit(parts, MONEY, f"h{turns}"))  # noqa: TID251
        for _ in range(turns % 12):
            await asyncio.sleep(0)
        if turns % 3 == 0:
            await asyncio.sleep(0.0002 * (turns % 10))
        asking.cancel()
        await asyncio.wait([asking])
        if not asking.cancelled() and asking.result().granted:
            await store.budgets.settle([Settlement(f"h{turns}", (Charge("p", 0),))])
            gone = [Change("caller", cost_s=-10.0), Change("quota", cost_s=-10.0)]
            await store.limits.change(gone, ["open"], f"h{turns}")

    async def left() -> tuple[float, list[float], tuple[int, int]]:
        free = await store.limits.take((), [slot()], "next")
        return free.wait_s, *await standing(store)

    await until(lambda found: found == (0.0, [0.0, 0.0], (0, 0)), left)


async def test_two_stores_are_asked_in_turn_and_give_back_what_the_other_refused(place: Place) -> None:
    store = place.together()
    apart = Apart(store.limits, store.budgets)
    assert (await apart.admit([part("caller", 10.0, slot()), part("quota", 20.0)], MONEY, "a")).granted
    before = await standing(store)
    for ask in (short_of_limit, short_of_quota, short_of_slot, short_of_money):
        refused = await ask(Opened(store.limits, store.budgets, apart))
        assert not refused.granted
        assert await standing(store) == before
