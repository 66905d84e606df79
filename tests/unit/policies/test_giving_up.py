"""Those who wait give up in time, all on one alarm."""

from __future__ import annotations

import asyncio

from stanchion.core.clock import Clock
from stanchion.policies.balance.giving_up import GivingUp
from stanchion.testing import virtual_time
from tests.unit.policies.reading import now


class Waiter:
    def __init__(self, give_up_at: float) -> None:
        self.waiting = True
        self.give_up_at = give_up_at
        self.gave_up_at: float | None = None

    def __call__(self) -> None:
        self.waiting, self.gave_up_at = False, now()


@virtual_time
async def test_each_gives_up_at_its_time_and_one_that_left_never() -> None:
    clock = Clock()
    giving_up = GivingUp(clock)
    waiters = [Waiter(at) for at in (1.0, 1.0, 2.0, 5.0)]
    assert all(giving_up.add(each) for each in waiters)
    waiters[2].waiting = False
    assert len(clock._alarms) == 1
    await asyncio.sleep(10.0)
    assert [each.gave_up_at for each in waiters] == [1.0, 1.0, None, 5.0]
    assert clock._alarms == {}


@virtual_time
async def test_one_that_gives_up_before_another_that_came_first_is_not_taken() -> None:
    giving_up = GivingUp(Clock())
    assert giving_up.add(Waiter(2.0))
    assert not giving_up.add(Waiter(1.0))
    giving_up.close()


@virtual_time
async def test_those_that_left_are_let_go_of() -> None:
    clock = Clock()
    giving_up = GivingUp(clock)
    giving_up.add(Waiter(1.0))
    for _ in range(1000):
        left = Waiter(2.0)
        giving_up.add(left)
        left.waiting = False
        giving_up.tidy(1)
    assert len(giving_up._due) < 50
    giving_up.close()
    assert clock._alarms == {}
