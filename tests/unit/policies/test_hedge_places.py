"""Where a second attempt may be made, how many there may be, and what they cost."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.errors import NotYet, Unavailable
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance import LineOptions
from stanchion.policies.hedge import HedgeOptions
from stanchion.policies.retry import Retry, RetryOptions
from stanchion.rules.hedge_budget import SAVED_MOST
from stanchion.testing import ScriptedProvider, VirtualTimeLoop, virtual_time
from tests.unit.policies.budgeted import CHEAP
from tests.unit.policies.budgeted import World as Money
from tests.unit.policies.hedging import LATE_S, STREAM, USUAL_S, Key, hedging, shown, streamed
from tests.unit.policies.reading import answer, down, now, read

WHOLE = b"".join(STREAM)


def slow(name: str = "p/m#a") -> Key:
    return Key(name, forever=lambda: [1.0, *STREAM])


@virtual_time
async def test_where_only_one_endpoint_is_there_is_no_second_attempt() -> None:
    a = slow()
    async with hedging(a) as world:
        assert await read(await world(streamed())) == WHOLE
        assert (len(a.calls), now(), world.outcomes()) == (1, 1.0, {"none_ready": 1})
        await read(await world(streamed()))
        assert world.hedge.budget.take()  # what was not made takes nothing from the share


@virtual_time
async def test_another_endpoint_of_the_same_key_is_no_second_one() -> None:
    a, b, c = slow(), Key("p/other#a"), Key("p/m#c", STREAM)
    b.key = a.key
    async with hedging(a, b) as world:
        await read(await world(streamed()))
        assert (b.calls, world.outcomes()) == ([], {"none_ready": 1})
    async with hedging(a, b, c) as world:
        call = streamed()
        await read(await world(call))
        assert shown(call.trail.attempts) == [("a", "cancelled", "lost"), ("c", "completed", "hedge")]


def rests(key: Key) -> None:
    key.rests_until = 50.0


def full(key: Key) -> None:
    key.full_until = 50.0


def nearly_full(key: Key) -> None:
    key.filled = 0.8


@pytest.mark.parametrize("how", [rests, full, nearly_full])
@virtual_time
async def test_one_that_rests_or_is_near_its_limit_is_not_asked(how) -> None:
    a, b = slow(), Key("p/m#b")
    how(b)
    async with hedging(a, b) as world:
        assert await read(await world(streamed())) == WHOLE
        assert (now(), b.calls, world.outcomes()) == (1.0, [], {"none_ready": 1})


@virtual_time
async def test_one_that_others_wait_for_is_not_asked() -> None:
    a, b = slow(), Key("p/m#b", STREAM)
    async with hedging(a, b) as world:
        asked = asyncio.get_running_loop().create_task(answer(world, streamed()))
        await asyncio.sleep(0.05)
        a.open_most, b.full_until = 1, 0.5
        waits = asyncio.get_running_loop().create_task(answer(world, streamed().having(priority="batch")))
        await asyncio.sleep(0)
        b.full_until = 0.0  # it is ready, and nobody was told yet
        await read(await asked)
        assert world.outcomes() == {"none_ready": 1}
        await read(await waits)


@virtual_time
async def test_a_caller_with_as_much_open_as_it_may_gets_no_second_attempt() -> None:
    a, b = slow(), Key("p/m#b")
    async with hedging(a, b, line=LineOptions(caller_open_most=1)) as world:
        await read(await world(streamed()))
        assert (b.calls, world.outcomes()) == ([], {"none_ready": 1})


@virtual_time
async def test_one_that_failed_this_call_before_is_not_asked_beside_the_retry() -> None:
    a, b = Key("p/m#a", down(), [1.0, *STREAM]), Key("p/m#b", [1.0, *STREAM])
    retry = Retry(RetryOptions(base_s=0.001), Metrics())
    async with hedging(a, b, above=[retry]) as world:
        call = streamed()
        await read(await world(call))
        assert shown(call.trail.attempts) == [("a", "failed", ""), ("b", "completed", "")]
        assert world.outcomes() == {"none_ready": 1}


@virtual_time
async def test_no_room_after_all_is_as_if_it_had_not_been() -> None:
    a, b = slow(), ScriptedProvider(NotYet(3.0), name="p/m#b")
    async with hedging(a, b) as world:
        call = streamed()
        assert await read(await world(call)) == WHOLE
        assert (now(), len(b.calls), call.trail.hedged) == (1.0, 1, "")
        assert world.outcomes() == {}
        assert sum(world.hedge.budget.take() for _ in range(100)) == SAVED_MOST  # nothing was sent


@virtual_time
async def test_a_first_attempt_that_is_back_in_the_line_is_not_late() -> None:
    a, b = Key("p/m#a", STREAM), Key("p/m#b")
    a.sends_back.append((0.05, 5.0))
    async with hedging(a, b) as world:
        b.rests_until = 60.0
        asked = asyncio.get_running_loop().create_task(answer(world, streamed()))
        await asyncio.sleep(0.06)
        b.rests_until = 0.0  # it could be asked beside; the line is not told
        await read(await asked)
        assert (b.calls, now(), world.outcomes()) == ([], pytest.approx(5.05), {})


@virtual_time
async def test_a_first_attempt_that_comes_out_of_the_line_takes_the_place_of_a_second_on_its_key() -> None:
    a, b = Key("p/m#a"), Key("p/m#b", [9.0, *STREAM], [0.5, *STREAM])
    a.sends_back.append((0.2, 60.0))
    async with hedging(a, b) as world:
        call = streamed()
        asked = asyncio.get_running_loop().create_task(answer(world, call))
        await asyncio.sleep(0.19)
        assert b.open == 1
        await asyncio.sleep(0.2)
        assert b.open == 1  # never two on one key
        await read(await asked)
        assert now() == pytest.approx(0.7)
        assert shown(call.trail.attempts) == [
            ("a", "failed", ""),
            ("b", "cancelled", "hedge lost"),
            ("b", "completed", ""),
        ]


@virtual_time
async def test_all_keys_learn_together_also_from_those_that_were_left() -> None:
    a, b = slow(), Key("p/m#b", forever=lambda: [0.05, *STREAM])
    async with hedging(a, b) as world:
        latency = world.learned.of(("p/m", "chat/completions", True), 0.0)
        before = latency.quantile(0.95)
        assert before == pytest.approx(USUAL_S, rel=0.06)
        for _ in range(8):
            await read(await world(streamed()))
        # eight took 0.05 s; eight were left later than is usual, so that is a little more usual now
        assert latency.samples(now()) == pytest.approx(200 + 16, abs=40)
        assert latency.quantile(0.99) > before
        assert latency.quantile(0.02) == pytest.approx(0.05, rel=0.06)


@virtual_time
async def test_a_second_attempt_that_is_left_early_teaches_nothing() -> None:
    a, b = Key("p/m#a", forever=lambda: [LATE_S, *STREAM]), Key("p/m#b", forever=lambda: [5.0, *STREAM])
    async with hedging(a, b) as world:
        for _ in range(8):
            await read(await world(streamed()))
        latency = world.learned.of(("p/m", "chat/completions", True), 0.0)
        assert latency.quantile(0.01) == pytest.approx(USUAL_S, rel=0.06)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32), st.floats(0, 0.5), st.sampled_from([0.01, 0.05, 0.2]), st.sampled_from([0.5, 0.95])
)
def test_extra_calls_are_never_more_than_their_share(
    seed: int, slow: float, share: float, part: float
) -> None:
    draw = random.Random(seed)

    def play() -> list:
        seconds = draw.lognormvariate(0, 0.5) * (20 if draw.random() < slow else 1)
        return [min(seconds, 100.0), *STREAM]  # more is silence

    async def run() -> None:
        a, b = (Key(f"p/m#{name}", forever=play) for name in "ab")
        options = HedgeOptions(on=True, extra_most=share, quantile=part)
        async with hedging(a, b, options=options, learned=False) as world:
            for calls in range(1, 301):
                await read(await world(streamed()))
                assert len(a.calls) + len(b.calls) - calls <= share * calls

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


@virtual_time
async def test_in_a_bad_time_only_what_was_saved_is_spent_at_once() -> None:
    a, b = slow(), Key("p/m#b", forever=lambda: list(STREAM))
    async with hedging(a, b) as world:
        for _ in range(100):
            await read(await world(streamed()))
    outcomes = world.outcomes()
    assert outcomes["won"] <= SAVED_MOST + 100 * 0.05
    assert outcomes["won"] >= SAVED_MOST
    assert outcomes["share_spent"] > 0  # and then being slow is usual, and nobody is late


def shared(money: Money, *keys: Key):
    return hedging(*keys, budget=money.budget, above=[money.budget])


@virtual_time
async def test_a_cap_holds_both_attempts_and_pays_both() -> None:
    money = Money(micro=2000)
    a, b = Key("p/m#a", [60.0, *STREAM]), Key("p/m#b", [0.5, *STREAM])
    money.budget._price_at = lambda endpoint, _: CHEAP
    async with shared(money, a, b) as world:
        call = streamed(max_tokens=100)
        asked = asyncio.get_running_loop().create_task(answer(world, call))
        await asyncio.sleep(0.05)
        alone = (await money.sums())[1]
        await asyncio.sleep(0.2)
        assert (await money.sums())[1] == 2 * alone > 0
        await read(await asked)
        spent, held = await money.sums()
        assert held == 0
        both = [each.usage for each in call.trail.attempts if each.usage is not None]
        assert len(both) == 2
        assert spent == sum(usage.prompt_tokens + 2 * usage.completion_tokens for usage in both)


@virtual_time
async def test_what_a_cap_does_not_cover_is_not_made() -> None:
    money = Money(micro=300)
    a, b = slow(), Key("p/m#b")
    async with shared(money, a, b) as world:
        call = streamed(max_tokens=100)
        assert await read(await world(call)) == WHOLE
        assert (b.calls, now(), world.outcomes()) == ([], 1.0, {"over_budget": 1})
        assert (await money.sums())[1] == 0
        assert sum(world.hedge.budget.take() for _ in range(100)) == SAVED_MOST


@virtual_time
async def test_a_lost_store_of_budgets_costs_the_second_attempt_and_not_the_first() -> None:
    money = Money(micro=300)

    async def lost(call) -> bool:
        raise Unavailable("the store of the budgets cannot be asked")

    money.budget.beside = lost
    a, b = slow(), Key("p/m#b")
    async with shared(money, a, b) as world:
        assert await read(await world(streamed())) == WHOLE
        assert (b.calls, now()) == ([], 1.0)
