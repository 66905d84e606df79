"""The filter that keeps to a provider's limits: what passes, what waits, and what each end leaves booked."""

from __future__ import annotations

import asyncio

import pytest

from stanchion.core.call import Body, Call, Operation
from stanchion.core.errors import Cut, NotYet, Refused, Sent, StanchionError
from stanchion.core.rates import Level
from stanchion.core.reply import End, Reply
from stanchion.core.service import stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.rate_limit import Quota
from stanchion.rules.quota import Ceilings
from stanchion.simulator.quota import Limits
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_chunk, chat_stream, virtual_time
from tests.unit.policies.limited import NAME, Metered, keep_asking, limiter, open_calls, refused
from tests.unit.policies.reading import answer, busy, cut, dead, down, now, read, silent, unreachable

TWO = Quota(ceilings=Ceilings(requests_per_minute=2))
TOKENS = Quota(starts=Ceilings(tokens_per_minute=1000))
WORDS = (
    "Rate limit reached for m in organization org-x on requests per min (RPM): Limit 60, Used 60, Requested 1. "
    "Please try again in 1s."
)


@virtual_time
async def test_with_room_a_call_and_its_answer_pass_unchanged() -> None:
    provider, limit = ScriptedProvider([chat_answer("yes")], chat_stream("a", "b")), limiter()
    service = stack(limit, service=provider)
    call = chat_call()
    assert limit.ready_in(now(), call) == 0
    assert await read(await service(call)) == chat_answer("yes")
    assert await read(await service(chat_call(stream=True))) == b"".join(chat_stream("a", "b"))
    assert provider.calls[0] is call
    assert open_calls(limit) == {0}


@virtual_time
async def test_without_room_a_call_is_told_when_and_the_provider_is_not_asked() -> None:
    provider, limit = ScriptedProvider(forever=lambda: [chat_answer()]), limiter(TWO)
    service = stack(limit, service=provider)
    for _ in range(2):
        await read(await service(chat_call()))
    with pytest.raises(NotYet) as caught:
        await service(chat_call())
    assert caught.value.wait_s == pytest.approx(60.0, abs=0.5)
    assert limit.ready_in(now(), chat_call()) == caught.value.wait_s
    assert (len(provider.calls), limit.fill(), limit.text()) == (2, 1.0, "requests 0/2 a minute")
    assert limit.levels() == [Level("requests", 0, 2, 60.0)]
    await asyncio.sleep(caught.value.wait_s)
    await read(await service(chat_call()))


@virtual_time
async def test_a_call_that_can_never_fit_is_refused_and_not_sent() -> None:
    provider, limit = ScriptedProvider(), limiter(TOKENS)
    call = chat_call("x" * 4100)
    assert limit.ready_in(now(), call) == 0.0  # it need not wait for that
    with pytest.raises(Refused) as caught:
        await stack(limit, service=provider)(call)
    error = caught.value
    assert (error.code, error.status, error.sent) == ("request_too_large", 429, Sent.NOT_SENT)
    assert not error.retryable
    assert error.elsewhere
    assert "1000" in str(error)
    assert "xx" not in str(error)
    assert provider.calls == []


@virtual_time
async def test_the_list_of_models_is_free() -> None:
    provider, limit = ScriptedProvider(forever=lambda: [b'{"data":[]}']), limiter(TWO)
    call = Call(operation=Operation.MODELS, model="", body=Body({}))
    for _ in range(5):
        assert limit.ready_in(now(), call) == 0.0
        await read(await stack(limit, service=provider)(call))
    assert limit.ready_in(now(), chat_call()) == 0.0


@pytest.mark.parametrize(
    "script", [[cut()], [chat_chunk("a"), cut()], [chat_chunk("a")]], ids=["first", "mid", "end"]
)
def test_an_answer_that_breaks_off_is_over_and_stays_booked(
    script: list[bytes | float | BaseException],
) -> None:
    @virtual_time
    async def run() -> None:
        limit = limiter(TWO)
        with pytest.raises(Cut):
            await read(await stack(limit, service=ScriptedProvider(script))(chat_call(stream=True)))
        assert open_calls(limit) == {0}
        assert limit.text() == "requests 1/2 a minute"

    run()


@pytest.mark.parametrize("error", [silent, down])
def test_an_error_after_it_was_sent_stays_booked(error) -> None:
    @virtual_time
    async def run() -> None:
        limit = limiter(TWO)
        with pytest.raises(StanchionError):
            await stack(limit, service=ScriptedProvider(error()))(chat_call())
        assert open_calls(limit) == {0}
        assert limit.text() == "requests 1/2 a minute"

    run()


@pytest.mark.parametrize("error", [unreachable, dead, busy])
def test_what_the_provider_does_not_charge_is_given_back(error) -> None:
    """Not sent; refused for want of money; refused for its rate."""

    @virtual_time
    async def run() -> None:
        limit = limiter(TWO)
        with pytest.raises(StanchionError):
            await stack(limit, service=ScriptedProvider(error()))(chat_call())
        assert open_calls(limit) == {0}
        assert limit.text().startswith("requests 2/2 a minute")

    run()


@virtual_time
async def test_a_key_without_money_is_no_news_of_a_rate() -> None:
    metrics = Metrics()
    limit = limiter(metrics=metrics)
    service = stack(limit, service=ScriptedProvider(dead(), [chat_answer()]))
    with pytest.raises(Refused):
        await service(chat_call())
    assert metrics.quota_refusals.of(NAME).value == 0
    assert limit.ready_in(now(), chat_call()) == 0
    await read(await service(chat_call()))


@virtual_time
async def test_a_caller_that_leaves_before_the_answer_leaves_its_call_booked() -> None:
    provider, limit = ScriptedProvider([9.0, chat_answer()]), limiter(TWO)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(answer(stack(limit, service=provider), chat_call()))
        await asyncio.sleep(1.0)
        assert open_calls(limit) == {1}
        task.cancel()
    assert open_calls(limit) == {0}
    assert limit.text() == "requests 1/2 a minute"


@virtual_time
async def test_a_reader_that_leaves_in_mid_stream_leaves_its_call_booked() -> None:
    provider, limit = ScriptedProvider([*chat_stream("a", "b")[:2], 9.0, *chat_stream("c")]), limiter(TWO)
    async with await stack(limit, service=provider)(chat_call(stream=True)) as reply:
        await anext(reply)
        assert open_calls(limit) == {1}
    assert provider.ends == [End.CANCELLED]
    assert open_calls(limit) == {0}
    assert limit.text() == "requests 1/2 a minute"


@virtual_time
async def test_what_an_answer_used_is_booked_at_its_end() -> None:
    stream = chat_stream("a", usage=(3, 400))
    limit = limiter(TOKENS)
    reply = await stack(limit, service=ScriptedProvider(stream))(chat_call("x" * 40, stream=True))
    assert limit.text().startswith("tokens 98")
    await read(reply)
    assert limit.text().startswith("tokens 58")


@virtual_time
async def test_a_refusal_that_is_understood_sends_the_call_back_to_the_line_three_times() -> None:
    async def busy_provider(call: Call, /) -> Reply:
        raise refused(WORDS, 1.0, call)

    limit, call = limiter(), chat_call()
    for _ in range(3):
        with pytest.raises(NotYet) as caught:
            await limit(call, busy_provider)
        assert 0.9 < caught.value.wait_s < 5.0
        await asyncio.sleep(limit.ready_in(now(), call) + 0.01)
    with pytest.raises(Refused) as refusal:
        await limit(call, busy_provider)
    assert refusal.value.status == 429


@pytest.mark.parametrize(
    "said",
    ["", "Too many requests", "Request too large on tokens per min: Limit 100, Requested 200."],
)
def test_a_refusal_that_is_not_understood_is_handed_on(said: str) -> None:
    @virtual_time
    async def run() -> None:
        async def busy_provider(call: Call, /) -> Reply:
            raise refused(said, 20.0, call)

        metrics = Metrics()
        limit = limiter(metrics=metrics)
        with pytest.raises(Refused):
            await limit(chat_call(), busy_provider)
        assert metrics.quota_refusals.of(NAME).value == 1
        if "large" not in said:
            assert limit.ready_in(now(), chat_call()) == pytest.approx(20.0, abs=0.1)

    run()


@virtual_time
async def test_headers_of_a_refusal_are_understood_too() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }

    async def busy_provider(call: Call, /) -> Reply:
        raise refused("busy", 2.0, call, headers)

    limit = limiter()
    with pytest.raises(NotYet):
        await limit(chat_call(), busy_provider)
    assert limit.ready_in(now(), chat_call()) >= 2.0
    assert limit.text() == "requests 0/60 a minute"


@virtual_time
async def test_who_does_not_learn_waits_for_nothing_but_what_is_configured() -> None:
    async def busy_provider(call: Call, /) -> Reply:
        raise refused(WORDS, 30.0, call)

    limit = limiter(learn=False)
    for _ in range(20):
        assert limit.ready_in(now(), chat_call()) == 0.0
        with pytest.raises(Refused):
            await limit(chat_call(), busy_provider)
    strict = limiter(TWO, learn=False)
    for _ in range(2):
        await read(await strict(chat_call(), Metered(Limits(rpm=1000))))
    assert strict.ready_in(now(), chat_call()) > 59.0


@virtual_time
async def test_those_who_watch_are_woken_by_every_answer_end_and_error() -> None:
    woken: list[float] = []
    limit = limiter()
    limit.watch(lambda: woken.append(now()))
    service = stack(limit, service=ScriptedProvider([2.0, chat_answer()], down()))
    reply = await service(chat_call())
    assert woken == [2.0]
    await asyncio.sleep(1.0)
    await read(reply)
    assert woken == [2.0, 3.0]
    with pytest.raises(Refused):
        await service(chat_call())
    assert woken == [2.0, 3.0, 3.0]


@pytest.mark.parametrize("rpm", [30, 600])
def test_it_learns_a_quota_and_fills_it_without_a_refusal(rpm: int) -> None:
    @virtual_time
    async def run() -> None:
        provider, limit = Metered(Limits(rpm=rpm, tpm=10**9)), limiter()
        async with asyncio.TaskGroup() as group:
            for _ in range(30):
                group.create_task(keep_asking(limit, provider, 120.0))
        assert 0.95 * rpm * 3 <= len(provider.let_in) <= rpm * 3 + 1
        assert provider.refused <= 5

    run()
