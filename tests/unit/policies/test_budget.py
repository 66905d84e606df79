"""Budget: what a call may cost is held before it is sent, and what it did cost is spent after it."""

from __future__ import annotations

import asyncio

import pytest

from stanchion.core.call import Body, Call, Operation
from stanchion.core.errors import BudgetExceeded, InvalidCall, Unavailable
from stanchion.core.reply import Reply
from stanchion.core.service import Service
from stanchion.core.usage import Usage
from stanchion.observe.metrics import Metrics
from stanchion.policies.budget import BudgetSettings
from stanchion.policies.fallback import Fallback
from stanchion.policies.retry import Retry, RetryOptions
from stanchion.rules.pricing import MILLION, Price
from stanchion.stores.memory_budgets import MemoryBudgets
from stanchion.stores.protocols import StoreLost
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.budgeted import CHEAP, DEAR, NOON, World
from tests.unit.policies.reading import answer, cut, down, read, text_of

PROMPT = "x" * 280  # 102 tokens, as they are reckoned


class Outliving(MemoryBudgets):
    """A store as of several processes: a call holds under a lease there."""


def asked(most: int | None = None, *, stream: bool = False, **fields) -> Call:
    if most is not None:
        fields["max_tokens"] = most
    return chat_call(PROMPT, stream=stream, **fields)


def whole(prompt: int = 90, completion: int = 50) -> list[bytes]:
    return [chat_answer("hello", usage=(prompt, completion))]


@virtual_time
async def test_the_most_a_call_may_cost_is_held_and_then_what_it_did_cost_is_spent() -> None:
    provider = ScriptedProvider([1.0, *whole()])
    world = World(provider)
    asking = asyncio.ensure_future(answer(world.service, asked(100)))  # noqa: TID251
    await asyncio.sleep(0.5)
    assert await world.sums() == (0, 102 + 2 * 100)
    await read(await asking)
    assert await world.sums() == (90 + 2 * 50, 0)
    assert provider.calls[0].body.fields["max_tokens"] == 100
    assert world.keeper.holding == 0


@virtual_time
async def test_a_call_without_a_budget_passes_untouched() -> None:
    world = World(
        ScriptedProvider(whole()),
        prices=[None],
        budgets={
            "jobs": BudgetSettings(dollars=0, callers=("job-*",)),
            "o": BudgetSettings(dollars=0, models=("o*",)),
        },
    )
    call = asked()
    await read(await world(call))
    assert world.jobs == []


@virtual_time
async def test_the_bound_of_an_answer_is_lowered_to_what_is_left() -> None:
    provider = ScriptedProvider(whole())
    world = World(provider, micro=302)
    await read(await world(asked(5000, max_completion_tokens=50)))
    sent = provider.calls[0].body.fields
    assert (sent["max_tokens"], sent["max_completion_tokens"]) == (100, 50)


@virtual_time
async def test_a_bound_is_never_raised() -> None:
    provider = ScriptedProvider(whole())
    await read(await World(provider, micro=302)(asked(7)))
    assert provider.calls[0].body.fields["max_tokens"] == 7


@virtual_time
async def test_with_too_little_left_a_call_is_refused_and_nothing_is_sent() -> None:
    provider = ScriptedProvider()
    world = World(provider, micro=102 + 2 * 15)
    with pytest.raises(BudgetExceeded) as refused:
        await world(asked(100))
    error = refused.value
    assert (error.status, error.type, error.code) == (429, "insufficient_quota", "budget_exceeded")
    assert "'all' (2026-11)" in str(error)
    assert error.retry_after_s == pytest.approx(6.5 * 86_400)  # to the end of the month
    assert (provider.calls, await world.sums()) == ([], (0, 0))
    assert world.metrics.budget_refused.of("all").value == 1


@virtual_time
async def test_a_short_answer_that_fits_is_let_through_though_it_is_below_the_least() -> None:
    await read(await World(ScriptedProvider(whole()), micro=102 + 2 * 5)(asked(5)))


@virtual_time
async def test_an_answer_that_nobody_bounds_is_bounded_to_what_is_held_for_it() -> None:
    provider = ScriptedProvider(whole(), whole())
    world = World(provider, answer_tokens=300)
    await read(await world(asked()))
    await read(await world(asked(n=2)))
    assert [call.body.fields["max_completion_tokens"] for call in provider.calls] == [300, 300]


@virtual_time
async def test_all_budgets_of_a_call_are_held_or_none() -> None:
    budgets = {
        "all": BudgetSettings(dollars=1.0),
        "each": BudgetSettings(dollars=0.0003, per="caller", window="day"),
        "mine": BudgetSettings(dollars=1.0, callers=("a*",)),
    }
    world = World(ScriptedProvider(whole(), whole()), budgets=budgets)
    await read(await world(asked(90).having(caller="ann")))
    with pytest.raises(BudgetExceeded, match="'each'"):
        await world(asked(90).having(caller="ann"))
    await read(await world(asked(90).having(caller="bob")))
    found = [await world.sums(f"{name}") for name in ("all 2026-11", "each/ann 2026-11-24", "mine 2026-11")]
    assert found == [(380, 0), (190, 0), (190, 0)]


@pytest.mark.parametrize(
    ("per", "purse"),
    [("team", "each/red 2026-11"), ("key", "each/k1 2026-11"), ("user", "")],
)
def test_each_team_key_or_end_user_has_a_purse_of_its_own(per, purse: str) -> None:
    @virtual_time
    async def run() -> None:
        budgets = {"each": BudgetSettings(dollars=0.0004, per=per, teams=("r*",))}
        world = World(ScriptedProvider(forever=whole()), budgets=budgets)
        call = asked(90, user="ann@example.org").having(caller="a", team="red", caller_key="k1")
        await read(await world(call))
        with pytest.raises(BudgetExceeded):
            await world(call)
        other = asked(90, user="bob").having(caller="a", team="rose", caller_key="k2")
        await read(await world(other))
        await read(await world(call.having(team="blue")))  # not covered
        store = world.store
        assert isinstance(store, MemoryBudgets)
        names = list(store._purses)
        assert len(names) == 2
        assert not any("ann" in name for name in names)
        assert not purse or purse in names

    run()


@virtual_time
async def test_a_new_window_is_a_new_purse() -> None:
    world = World(ScriptedProvider(whole(), whole()), micro=302)
    await read(await world(asked(100)))
    assert await world.sums() == (190, 0)
    world.now = NOON + 7 * 86_400
    await read(await world(asked(100)))
    assert await world.sums("all 2026-12") == (190, 0)


@virtual_time
async def test_the_dearest_target_of_a_chain_bounds_the_hold_and_the_one_that_answered_is_paid() -> None:
    first, second = ScriptedProvider(down()), ScriptedProvider([1.0, *whole()], name="other/m")
    chain = Fallback(lambda _: ("0", "1"), Metrics())
    world = World(first, second, prices=[CHEAP, DEAR], above=[chain])
    asking = asyncio.ensure_future(answer(world.service, asked(100)))  # noqa: TID251
    await asyncio.sleep(0.5)
    assert await world.sums() == (0, 10 * (102 + 2 * 100))
    await read(await asking)
    assert await world.sums() == (10 * (90 + 2 * 50), 0)


@virtual_time
async def test_the_price_of_a_long_prompt_and_of_a_tier_is_held() -> None:
    price = Price(
        MILLION, MILLION, above=(Price(2 * MILLION, MILLION, tokens=100),), variants={"priority": DEAR}
    )
    for tier, held in (("default", 2 * 102 + 100), ("priority", 10 * 102 + 20 * 100)):
        world = World(ScriptedProvider([1.0, *whole()]), prices=[price])
        asking = asyncio.ensure_future(answer(world.service, asked(100, service_tier=tier)))  # noqa: TID251
        await asyncio.sleep(0.5)
        assert await world.sums() == (0, held)
        await read(await asking)


@virtual_time
async def test_what_an_attempt_used_is_held_beside_the_next_one() -> None:
    provider = ScriptedProvider([*chat_stream("a" * 8)[:2], cut()], [1.0, *chat_stream("b", usage=(90, 5))])
    retry = Retry(RetryOptions(base_s=0.0), Metrics(), jitter=lambda: 0.0)

    async def twice(call: Call, service: Service, /) -> Reply:
        reply = await service(call)
        with pytest.raises(type(cut())):
            await read(reply)
        return await service(call.having(attempt=2))

    world = World(provider, above=[twice, retry])
    call = asked(100, stream=True)
    reply = await world(call)
    used = world.budget.cost(call.trail, world.budget.running[call.id])
    assert used > 0
    assert await world.sums() == (0, 302 + used)
    await read(reply)
    assert (await world.sums())[1] == 0
    assert (await world.sums())[0] == used + 90 + 2 * 5


@virtual_time
async def test_an_unknown_price_is_refused_or_counted_as_what_the_settings_say() -> None:
    with pytest.raises(InvalidCall) as refused:
        await World(ScriptedProvider(), prices=[CHEAP, None])(asked())
    assert (refused.value.code, refused.value.param) == ("price_unknown", "model")
    world = World(ScriptedProvider(whole()), prices=[None], otherwise=Price(3 * MILLION, 5 * MILLION))
    await read(await world(asked(100)))
    assert await world.sums() == (3 * 90 + 5 * 50, 0)


@virtual_time
async def test_a_call_that_fails_or_is_left_holds_nothing_any_more() -> None:
    world = World(ScriptedProvider(down(), [5.0, *whole()], chat_stream("a", "b", "c")))
    with pytest.raises(type(down())):
        await world(asked(100))
    leaving = asyncio.ensure_future(answer(world.service, asked(100)))  # noqa: TID251
    await asyncio.sleep(1.0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert (await world.sums())[1] == 0
    reply = await world(asked(100, stream=True))
    assert await anext(reply)
    assert await anext(reply)
    await reply.aclose()
    spent, held = await world.sums()
    assert held == 0
    assert 0 < spent < 302  # one token came


@virtual_time
async def test_embeddings_are_priced_without_an_answer() -> None:
    world = World(
        ScriptedProvider([b'{"object":"list","data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}'])
    )
    call = chat_call().having(
        operation=Operation.EMBEDDINGS, body=type(asked().body)({"model": "m", "input": "x" * 40})
    )
    await read(await world(call))
    assert await world.sums() == (7, 0)


@virtual_time
async def test_much_spent_is_said_once_a_window(caplog: pytest.LogCaptureFixture) -> None:
    world = World(ScriptedProvider(forever=whole()), micro=1000)
    for _ in range(5):
        await read(await world(asked(60)))
        await world.sums()
    said = [each for each in caplog.records if each.getMessage() == "budget.alert"]
    assert len(said) == 0
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            await world(asked(60))
    said = [each for each in caplog.records if each.getMessage() == "budget.alert"]
    assert len(said) == 1
    assert world.metrics.budget_alerts.of("all").value == 1
    assert world.metrics.budget_used.of("all").value == pytest.approx(0.95)


@virtual_time
async def test_a_call_that_runs_long_keeps_its_hold() -> None:
    world = World(ScriptedProvider([100.0, *whole()]), lease_s=6.0)
    async with asyncio.TaskGroup() as group:
        renewing = group.create_task(world.keeper.run())
        asking = group.create_task(answer(world.service, asked(100)))
        await asyncio.sleep(90.0)
        assert await world.sums() == (0, 302)
        await read(await asking)
        renewing.cancel()


@pytest.mark.parametrize(("crashed", "spent"), [("count", 302), ("release", 0)])
def test_the_hold_of_a_process_that_died_is_counted_or_released(crashed: str, spent: int) -> None:
    @virtual_time
    async def run() -> None:
        store = Outliving(asyncio.get_running_loop().time)
        world = World(ScriptedProvider([100.0, *whole()]), store=store, lease_s=6.0, crashed=crashed)
        asking = asyncio.ensure_future(answer(world.service, asked(100)))  # noqa: TID251
        await asyncio.sleep(7.0)  # nobody renews
        assert await world.sums() == (spent, 0)
        asking.cancel()
        await asyncio.wait([asking])

    run()


@virtual_time
async def test_a_store_that_is_lost_and_leaves_no_share_refuses() -> None:
    class Lost(MemoryBudgets):
        async def reserve(self, holder, holds, ttl_s):
            raise StoreLost("gone")

    with pytest.raises(Unavailable) as refused:
        await World(ScriptedProvider(), store=Lost(lambda: 0.0))(asked(1))
    assert refused.value.code == "budget_store_lost"


@virtual_time
async def test_a_stream_that_passes_what_is_held_asks_for_more() -> None:
    words = ["w"] * 40
    world = World(ScriptedProvider(chat_stream(*words, usage=(102, 40))), answer_tokens=16)
    reply = await world(asked(stream=True))
    assert text_of(await read(reply)) == "w" * 40
    assert await world.sums() == (102 + 2 * 40, 0)


@virtual_time
async def test_a_stream_is_cut_at_the_end_of_its_budget_and_billed_for_what_was_delivered() -> None:
    provider = ScriptedProvider(chat_stream(*["w"] * 100))  # it never tells its usage
    world = World(provider, answer_tokens=20, least_tokens=2, micro=102 + 2 * 47)
    call = asked(stream=True)
    reply, got = await world(call), list[bytes]()
    with pytest.raises(BudgetExceeded, match="the stream was cut: the budget 'all'") as error:
        await read(reply, got)
    assert error.value.code == "budget_exceeded"
    delivered = len(text_of(b"".join(got)))
    assert delivered == 47
    used = call.trail.usage
    assert used is not None
    assert used == Usage(input=used.input, output=47, estimated=True)
    spent, held = await world.sums()
    assert (spent, held) == (used.input + 2 * 47, 0)
    assert (provider.open, world.metrics.budget_cut.of().value) == (0, 1)


@virtual_time
async def test_a_stream_that_has_said_its_end_is_not_cut_after_it() -> None:
    world = World(
        ScriptedProvider([b"".join(chat_stream(*["w"] * 60))]), answer_tokens=20, micro=102 + 2 * 20
    )
    assert text_of(await read(await world(asked(stream=True)))) == "w" * 60


@virtual_time
async def test_a_stream_whose_length_the_caller_bounds_is_not_looked_at() -> None:
    world = World(ScriptedProvider(chat_stream(*["w"] * 100, usage=(102, 100))))
    await read(await world(asked(10, stream=True)))  # a provider that writes more is paid
    assert await world.sums() == (102 + 2 * 100, 0)


@virtual_time
async def test_chunks_of_many_tokens_count_as_many() -> None:
    world = World(ScriptedProvider(chat_stream(*["four" * 25] * 4)), answer_tokens=20, micro=102 + 2 * 40)
    with pytest.raises(BudgetExceeded):
        await read(await world(asked(stream=True)))


def test_text_in_other_letters_counts_as_more_than_a_token_for_four() -> None:
    from stanchion.rules.size import prompt_tokens

    latin = prompt_tokens(Body({"messages": [{"role": "user", "content": "a" * 400}]}))
    han = prompt_tokens(
        Body({"messages": [{"role": "user", "content": [{"type": "text", "text": "中" * 400}]}]})
    )
    assert (latin, han) == (102 + 34 + 6, 102 + 34 + 6 + 200)
    assert prompt_tokens(Body({"messages": [], "tools": [{"a": "b" * 391}]})) == 1 + 3 + 100
