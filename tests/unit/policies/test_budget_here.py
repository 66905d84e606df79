"""Budgets in this process's memory: held without a lease while enough is left, and settled for many at once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.call import Call
from stanchion.core.chunk import Chunk
from stanchion.core.errors import BudgetExceeded
from stanchion.core.reply import Head, Reply
from stanchion.policies.budget import BudgetSettings
from stanchion.rules.pricing import MILLION
from stanchion.stores.budgets import Charge, Hold, Settlement
from stanchion.stores.memory_budgets import MemoryBudgets
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, virtual_time
from stanchion.wire.answers import read_whole
from tests.unit.policies.budgeted import World
from tests.unit.policies.reading import answer, read

PROMPT = "x" * 280  # 102 tokens, as they are reckoned


def whole(prompt: int = 90, completion: int = 50) -> list[bytes]:
    return [chat_answer("hello", usage=(prompt, completion))]


@virtual_time
async def test_while_enough_is_left_no_lease_is_taken_and_all_is_held_nevertheless() -> None:
    world = World(ScriptedProvider([1.0, *whole()]))
    asking = asyncio.ensure_future(answer(world.service, chat_call(PROMPT, max_tokens=100)))  # noqa: TID251
    await asyncio.sleep(0.5)
    assert (await world.sums(), world.keeper.holding) == ((0, 302), 0)
    await read(await asking)
    assert (await world.sums(), world.jobs) == ((190, 0), [])


@virtual_time
async def test_ended_calls_are_settled_together_a_moment_later() -> None:
    world = World(ScriptedProvider(forever=whole()), later=True)
    for _ in range(3):
        await read(await world(chat_call(PROMPT, max_tokens=100)))
    assert await world.sums() == (0, 3 * 302)  # what is held stands for what is not settled
    await asyncio.sleep(0.005)
    assert await world.sums() == (3 * 190, 0)
    assert world.metrics.budget_used.of("all").value == pytest.approx(0.057)


@virtual_time
async def test_nobody_is_refused_for_money_that_an_ended_call_gives_back() -> None:
    world = World(ScriptedProvider(forever=whole()), later=True, micro=190 * 3 + 302)
    for _ in range(4):
        await read(await world(chat_call(PROMPT, max_tokens=100)))
    with pytest.raises(BudgetExceeded):
        await world(chat_call(PROMPT, max_tokens=100))
    assert await world.sums() == (4 * 190, 0)


@virtual_time
async def test_if_one_purse_has_too_little_nothing_stays_held_of_the_others() -> None:
    budgets = {"large": BudgetSettings(dollars=1), "small": BudgetSettings(dollars=100 / MILLION)}
    world = World(ScriptedProvider(), budgets=budgets)
    with pytest.raises(BudgetExceeded):
        await world(chat_call(PROMPT, max_tokens=100))
    assert (await world.sums("large 2026-11"), await world.sums("small 2026-11")) == ((0, 0), (0, 0))


class Obedient:
    """A provider whose answers are as long as they may be."""

    name = "scripted/m"

    async def __call__(self, call: Call, /) -> Reply:
        await asyncio.sleep(call.body.fields["seconds"])
        chunk = Chunk(whole(102, call.body.fields["max_tokens"])[0], read_whole(call.operation))
        return Reply.whole(Head(endpoint=self.name, model="m"), chunk, chunk.events[0].usage)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(300, 3000),
    st.lists(st.tuples(st.integers(1, 200), st.floats(0.0, 2.0), st.floats(0.0, 3.0)), max_size=20),
)
def test_a_cap_is_never_passed_and_nothing_stays_held(
    micro: int, plans: list[tuple[int, float, float]]
) -> None:
    @virtual_time
    async def run() -> None:
        world, passed = World(Obedient(), micro=micro, later=True), list[tuple[int, int]]()

        async def one(most: int, starts_s: float, lasts_s: float) -> None:
            await asyncio.sleep(starts_s)
            with contextlib.suppress(BudgetExceeded):
                await read(await world(chat_call(PROMPT, max_tokens=most, seconds=lasts_s)))
            spent, held = await world.sums()
            if spent + held > micro:
                passed.append((spent, held))

        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(one(*plan))
        await asyncio.sleep(0.01)
        spent, held = await world.sums()
        assert (passed, held, world.budget.running) == ([], 0, {})
        assert spent <= micro

    run()


STEPS = st.tuples(st.sampled_from(["here", "lease", "end"]), st.integers(0, 400), st.floats(0.0, 1.0))


@given(st.lists(STEPS, max_size=60))
def test_holds_with_and_without_a_lease_share_a_purse_and_stay_within_its_cap(
    steps: list[tuple[str, int, float]],
) -> None:
    async def run() -> None:
        store, here, leased = MemoryBudgets(lambda: 0.0), list[int](), dict[str, int]()
        spent = 0
        for number, (what, amount, part) in enumerate(steps):
            if what == "here":
                if store.hold_here("p", 1000, amount, 0.0) is not None:
                    here.append(amount)
            elif what == "lease":
                if (await store.reserve(f"h{number}", [Hold("p", 1000, amount, amount)], 60.0)).granted:
                    leased[f"h{number}"] = amount
            elif here:
                held = here.pop()
                cost = int(held * part)
                purse = store.hold_here("p", 1000, 0, 0.0)
                assert purse is not None
                purse.settle_here(held, cost)
                spent += cost
            elif leased:
                holder, held = leased.popitem()
                await store.settle([Settlement(holder, (Charge("p", int(held * part)),))])
                spent += int(held * part)
            sums = (await store.spent(["p"]))[0]
            assert (sums.spent, sums.held) == (spent, sum(here) + sum(leased.values()))
            assert sums.spent + sums.held <= 1000

    asyncio.run(run())
