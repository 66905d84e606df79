"""What a call owes the stores is asked for once, whoever asks first, and stays owed where something has no room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stanchion.core.call import Call
from stanchion.core.errors import BudgetExceeded, LimitReached, Unavailable
from stanchion.stores.admission import Admitted, Apart, Money, Part
from stanchion.stores.budgets import Hold
from stanchion.stores.dues import Dues, dues_of, paid
from stanchion.stores.memory import MemoryLimits
from stanchion.stores.memory_budgets import MemoryBudgets
from stanchion.stores.protocols import StoreLost, Take, Taken
from stanchion.testing import chat_call, virtual_time


class Slow(Apart):
    """Takes its time; counts how often it is asked."""

    asked = 0
    lost = False

    def __init__(self) -> None:
        now = asyncio.get_running_loop().time
        self.limits, self.budgets = MemoryLimits(now), MemoryBudgets(now)
        super().__init__(self.limits, self.budgets)

    async def admit(self, parts: Sequence[Part], money: Money | None, holder: str) -> Admitted:
        self.asked += 1
        await asyncio.sleep(1.0)
        if self.lost:
            raise StoreLost("gone")
        return await super().admit(parts, money, holder)


def refused(taken: Taken) -> LimitReached:
    return LimitReached("no more", retry_after_s=taken.wait_s)


def funded(admitted: Admitted) -> None:
    if admitted.money is not None and not admitted.money.granted:
        raise BudgetExceeded("no money")


def bounded(call: Call) -> Call:
    return call.having(target="bounded")


def owing(store: Slow, cost_s: float = 1.0, amount: int = 10) -> Call:
    dues = Dues(store)
    dues.limits(Part((Take("caller", cost_s, 30.0),), ()), refused)
    dues.money(Money((Hold("p", 100, amount, amount),), 60.0), funded, bounded)
    return chat_call().having(options={Dues: dues})


async def held(store: Slow) -> int:
    return (await store.budgets.spent(["p"]))[0].held


@virtual_time
async def test_two_tries_at_the_same_time_pay_once() -> None:
    store = Slow()
    call = owing(store)
    async with asyncio.TaskGroup() as group:
        tries = [group.create_task(paid(call)) for _ in range(2)]
    assert [each.result().target for each in tries] == ["bounded", "bounded"]
    assert store.asked == 1
    assert await held(store) == 10
    assert (await paid(call)).target == "bounded"  # a third, later, as they were
    assert store.asked == 1


@virtual_time
async def test_what_comes_beside_and_has_no_room_leaves_the_dues_unpaid() -> None:
    store = Slow()
    call = owing(store)
    dues = dues_of(call)
    assert dues is not None
    _, taken = await dues.pay(call, Part((Take("quota", 1.0, 0.5), Take("more", 9.0, 8.0)), ()))
    assert taken is not None
    assert taken.wait_s == 0.0  # larger than the room, and full
    second = owing(store, cost_s=0.1)
    dues = dues_of(second)
    assert dues is not None
    _, taken = await dues.pay(second, Part((Take("quota", 1.0, 0.5),), ()))
    assert taken is not None
    assert taken.wait_s == 0.0
    _, again = await Dues(store).pay(second, Part((Take("more", 9.0, 8.0),), ()))
    assert again is not None
    assert again.wait_s > 0
    third = owing(store, cost_s=0.1)
    dues = dues_of(third)
    assert dues is not None
    _, taken = await dues.pay(third, Part((Take("more", 9.0, 8.0),), ()))
    assert taken is not None
    assert taken.wait_s > 0
    assert not dues.paid
    assert await held(store) == 20
    assert (await paid(third)).target == "bounded"
    assert await held(store) == 30


@virtual_time
async def test_a_refusal_is_raised_in_the_words_of_its_policy_and_takes_nothing() -> None:
    store = Slow()
    await paid(owing(store, cost_s=20.0))
    with pytest.raises(LimitReached):
        await paid(owing(store, cost_s=20.0))
    with pytest.raises(BudgetExceeded):
        await paid(owing(store, cost_s=0.1, amount=91))
    assert await held(store) == 10
    assert (await store.limits.take([Take("caller", 0.0, 9.0)], (), "look")).booked_s == (20.0,)


@virtual_time
async def test_a_store_that_may_spend_nothing_says_so_and_is_asked_again() -> None:
    store = Slow()
    store.lost = True
    call = owing(store)
    with pytest.raises(Unavailable) as lost:
        await paid(call)
    assert lost.value.code == "budget_store_lost"
    store.lost = False
    assert (await paid(call)).target == "bounded"


@virtual_time
async def test_a_call_without_dues_passes_as_it_is() -> None:
    call = chat_call()
    assert await paid(call) is call
