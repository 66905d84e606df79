"""What the store in memory does beside the contract: it forgets what is over."""

from __future__ import annotations

from stanchion.stores.memory import FORGET_S, MemoryKeyBook, MemoryLimits
from stanchion.stores.protocols import ORDERS_OLDEST_S, Change, KeyOrder, Slot, Take
from stanchion.testing import virtual_time


class At:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@virtual_time
async def test_meters_and_slots_that_are_long_over_are_forgotten() -> None:
    at = At()
    limits = MemoryLimits(at)
    for number in range(1000):
        await limits.take([Take(f"m{number}", 1.0, 9.0)], [Slot(f"s{number}", 1, 5.0)], "h")
    await limits.change([Change("held", hold_s=2 * FORGET_S)], (), "h")
    at.s = FORGET_S + 5.0
    for number in range(1100):
        await limits.take([Take(f"n{number}", 1.0, 9.0)], (), "h")
    assert len(limits._meters) == 1101
    assert len(limits._holders) == 0
    assert limits.depths()[0] == ("held", FORGET_S - 5.0)


@virtual_time
async def test_an_empty_slot_leaves_nothing() -> None:
    limits = MemoryLimits(At())
    await limits.take((), [Slot("s", 1, 5.0)], "h")
    assert limits.held() == {"h": [("s", 5.0)]}
    await limits.change((), ["s", "another"], "h")
    assert limits._holders == {}


@virtual_time
async def test_orders_older_than_a_day_are_dropped() -> None:
    at = At()
    book = MemoryKeyBook(at)
    await book.order(KeyOrder("k", "rotate"))
    at.s = ORDERS_OLDEST_S
    assert await book.orders(0) == []
    assert await book.order(KeyOrder("k", "rotate")) == 2
    assert [order.number for order in await book.orders(0)] == [2]
