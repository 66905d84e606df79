"""What every backend's budgets do: hold all or nothing, settle by the truth, and end leases by themselves."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import textwrap

import pytest

from stanchion.stores.budgets import Budgets, Charge, Hold, Lease, Reserved, Settlement, Sums
from tests.contract.conftest import SHARED, Place
from tests.contract.waiting import until

pytestmark = pytest.mark.timeout(120)

HOUR = 3600.0


def hold(amount: int, purse: str = "p", *, cap: int = 100, least: int | None = None, sure: int = 0) -> Hold:
    return Hold(purse, cap, amount, amount if least is None else least, sure)


async def reserve(budgets: Budgets, holder: str, *holds: Hold, ttl_s: float = HOUR) -> Reserved:
    return await budgets.reserve(holder, holds, ttl_s)


def settled(holder: str, amount: int, *purses: str) -> list[Settlement]:
    return [Settlement(holder, tuple(Charge(purse, amount) for purse in purses or ("p",)))]


async def sums(budgets: Budgets, purse: str = "p") -> tuple[int, int]:
    found = (await budgets.spent([purse]))[0]
    return found.spent, found.held


async def test_what_is_held_and_spent_stays_within_the_cap(place: Place) -> None:
    some = [place.budgets() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(reserve(some[n % 3], f"h{n}", hold(7))) for n in range(60)]
    assert sum(each.result().granted for each in asked) == 14
    assert await sums(some[0]) == (0, 98)


async def test_all_purses_give_or_none_does(place: Place) -> None:
    budgets = place.budgets()
    assert (await reserve(budgets, "a", hold(90, "p"), hold(90, "q"))).granted
    refused = await reserve(budgets, "b", hold(20, "r"), hold(20, "q"))
    assert (refused.granted, refused.held) == (False, (0, 90))
    assert [await sums(budgets, each) for each in "pqr"] == [(0, 90), (0, 90), (0, 0)]


async def test_the_truth_takes_the_place_of_what_was_held_once(place: Place) -> None:
    budgets = place.budgets()
    await reserve(budgets, "a", hold(60), hold(60, "q"))
    for _ in range(2):  # it is not known whether the first came through
        await budgets.settle(settled("a", 45, "p", "q"))
    assert [await sums(budgets, each) for each in "pq"] == [(45, 0), (45, 0)]
    await budgets.settle(settled("nobody", 5))
    assert await sums(budgets) == (45, 0)


async def test_a_cost_above_what_was_held_is_counted(place: Place) -> None:
    budgets = place.budgets()
    await reserve(budgets, "a", hold(60))
    await budgets.settle(settled("a", 145))
    refused = await reserve(budgets, "b", hold(1))
    assert (refused.granted, refused.spent, refused.held) == (False, (145,), (0,))


async def test_a_hold_is_cut_to_what_is_left_in_all_purses_alike(place: Place) -> None:
    budgets = place.budgets()
    await reserve(budgets, "a", hold(70, "q"))
    cut = await reserve(budgets, "b", hold(50, "p", least=5), hold(50, "q", least=5), hold(1, "calls"))
    assert (cut.granted, cut.cut, cut.held) == (True, 20, (30, 100, 1))
    refused = await reserve(budgets, "c", hold(50, "p", least=5), hold(50, "q", least=5))
    assert (refused.granted, refused.held) == (False, (30, 100))


async def test_more_is_held_beside_what_a_holder_has(place: Place) -> None:
    budgets = place.budgets()
    await reserve(budgets, "a", hold(50))
    assert (await reserve(budgets, "a", hold(40))).held == (90,)
    assert not (await reserve(budgets, "a", hold(40))).granted
    await budgets.settle(settled("a", 80))
    assert await sums(budgets) == (80, 0)


@pytest.mark.parametrize("sure", [0, 30, 60])
async def test_a_lease_that_ran_out_counts_for_what_is_sure(place: Place, sure: int) -> None:
    budgets = place.budgets()
    await reserve(budgets, "gone", hold(60, sure=sure), ttl_s=0.05)
    await until(lambda found: found == (sure, 0), lambda: sums(budgets))
    assert (await reserve(budgets, "next", hold(100 - sure))).granted


async def test_a_late_settlement_still_puts_the_truth_in_place(place: Place) -> None:
    budgets = place.budgets()
    await reserve(budgets, "late", hold(60, sure=60), ttl_s=0.05)
    await until(lambda found: found == (60, 0), lambda: sums(budgets))
    for _ in range(2):
        await budgets.settle(settled("late", 20))
        assert await sums(budgets) == (20, 0)


async def test_a_holder_whose_lease_ran_out_lives_when_it_asks_for_more(place: Place) -> None:
    budgets = place.budgets()
    await reserve(budgets, "late", hold(60, sure=60), ttl_s=0.05)
    await until(lambda found: found == (60, 0), lambda: sums(budgets))
    assert (await reserve(budgets, "late", hold(10, sure=10))).spent == (0,)
    await budgets.settle(settled("late", 65))
    assert await sums(budgets) == (65, 0)


async def test_a_renewed_lease_runs_longer(place: Place) -> None:
    budgets = place.budgets()
    await reserve(budgets, "a", hold(60), hold(1, "q"), ttl_s=0.3)
    await budgets.renew([Lease("a", ("p", "q")), Lease("nobody", ("p",))], HOUR)
    await asyncio.sleep(0.4)
    assert [await sums(budgets, each) for each in "pq"] == [(0, 60), (0, 1)]


async def test_what_is_known_is_spent_at_least_before_more_is(place: Place) -> None:
    budgets = place.budgets()
    await budgets.spend([Charge("p", 5)], [Charge("p", 70), Charge("q", 8)])
    await budgets.spend([Charge("p", 5), Charge("p", 1)], [Charge("p", 70)])
    assert await budgets.spent(["p", "q", "never"]) == [Sums(81, 0), Sums(8, 0), Sums(0, 0)]


async def test_a_purse_is_forgotten_after_its_time_and_says_that_it_is_new(place: Place) -> None:
    budgets = place.budgets()
    first = await budgets.reserve("a", [Hold("p", 100, 60, 60, keep_s=0.2)], HOUR)
    again = await budgets.reserve("b", [Hold("p", 100, 10, 10, keep_s=0.2)], HOUR)
    assert again.born_at == first.born_at
    await asyncio.sleep(0.3)
    third = await budgets.reserve("c", [Hold("p", 100, 100, 100)], HOUR)
    assert third.granted
    assert third.born_at > first.born_at
    await budgets.settle(settled("a", 60))  # of the purse that is forgotten
    assert await sums(budgets) == (0, 100)


async def test_a_caller_cancelled_while_it_reserves_leaves_nothing_held(place: Place) -> None:
    budgets = place.budgets()
    await reserve(budgets, "first", hold(1, "q"))  # connected
    for turns in range(60):
        asking = asyncio.ensure_future(reserve(budgets, f"h{turns}", hold(100)))  # noqa: TID251
        for _ in range(turns % 12):
            await asyncio.sleep(0)
        if turns % 3 == 0:
            await asyncio.sleep(0.0002 * (turns % 10))
        asking.cancel()
        await asyncio.wait([asking])
        if not asking.cancelled():
            await budgets.settle(settled(f"h{turns}", 0))
    await until(lambda found: found == (0, 0), lambda: sums(budgets))


async def test_purses_are_named_by_how_they_begin(place: Place) -> None:
    budgets = place.budgets()
    for purse in ("a/x 2026-11", "a/y[*]? 2026-11", "a 2026-11", "ab/x 2026-11", "a/z"):
        await budgets.reserve("h", [Hold(purse, 100, 1, 1)], HOUR)
    await budgets.reserve("h", [Hold("a/gone", 100, 1, 1, keep_s=0.05)], HOUR)
    await asyncio.sleep(0.1)
    assert await budgets.names("a/") == ["a/x 2026-11", "a/y[*]? 2026-11", "a/z"]
    assert await budgets.names("a/y[*]?") == ["a/y[*]? 2026-11"]
    assert await budgets.names("*") == []


async def test_large_sums_are_exact(place: Place) -> None:
    budgets, cap = place.budgets(), 9_000_000_000_000_000  # nine thousand million dollars
    await reserve(budgets, "a", hold(cap - 1, cap=cap))
    await budgets.settle(settled("a", cap - 2))
    assert await sums(budgets) == (cap - 2, 0)
    assert (await reserve(budgets, "b", hold(2, cap=cap))).granted
    assert not (await reserve(budgets, "c", hold(1, cap=cap))).granted


async def test_random_steps_lead_to_the_sums_of_a_plain_reckoning(place: Place) -> None:
    budgets, lots = place.budgets(), random.Random(5)
    spent, held, open_ = {"p": 0, "q": 0}, {"p": 0, "q": 0}, dict[str, dict[str, int]]()
    for number in range(150):
        if open_ and lots.random() < 0.45:
            holder = lots.choice(list(open_))
            for purse, amount in open_.pop(holder).items():
                held[purse] -= amount
                spent[purse] += 3
            await budgets.settle(settled(holder, 3, "p", "q"))
            continue
        amount, least = lots.randint(1, 40), lots.randint(1, 10)
        left = min(300 - spent[each] - held[each] for each in "pq")
        answer = await reserve(
            budgets, f"h{number}", *[hold(amount, each, cap=300, least=min(least, amount)) for each in "pq"]
        )
        assert answer.granted == (left >= min(least, amount))
        if answer.granted:
            given = min(amount, left)
            open_[f"h{number}"] = dict.fromkeys("pq", given)
            held = {each: held[each] + given for each in held}
        assert (dict(zip("pq", answer.spent, strict=True)), dict(zip("pq", answer.held, strict=True))) == (
            spent,
            held,
        )


HOLDS_AND_WAITS = """
    import asyncio, sys
    from stanchion.core.clock import Clock
    from stanchion.stores.budgets import Charge, Hold, Settlement
    from stanchion.stores.opening import open_budgets

    async def main():
        budgets = open_budgets(sys.argv[1], Clock())
        given = 0
        for number in range(200):
            holder = f"{sys.argv[2]}-{number}"
            answer = await budgets.reserve(holder, [Hold("p", 300, 3, 3)], 3600.0)
            if answer.granted:
                given += 1
                await budgets.settle([Settlement(holder, (Charge("p", 1),))])
        await budgets.reserve(sys.argv[2], [Hold("q", 100, 40, 40, sure=7)], 1.0)
        print(given, flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


def child(source: str, url: str, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", source, url, name], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("backend", SHARED)
async def test_processes_share_a_purse_and_those_killed_leave_what_is_sure(place: Place) -> None:
    source = textwrap.dedent(HOLDS_AND_WAITS)
    children = [child(source, place.url, name) for name in "ab"]
    given = 0
    for each in children:
        assert each.stdout is not None
        given += int(await asyncio.to_thread(each.stdout.readline))
        with each:
            each.kill()
    budgets = place.budgets()
    assert await sums(budgets) == (given, 0)
    assert 298 <= given <= 300
    await until(lambda found: found == (14, 0), lambda: sums(budgets, "q"))
