"""Retry: invisible before the first chunk, within the deadline and the budget, never where it is pointless."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from stanchion.core.errors import Cut, Refused, Silent, StanchionError, Unavailable, Unreachable
from stanchion.core.reply import End
from stanchion.core.service import Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.retry import Retry, RetryOptions
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import (
    answer,
    busy,
    cut,
    dead,
    down,
    now,
    read,
    silent,
    text_of,
    unreachable,
    wrong,
)


def retrying(service: Service, metrics: Metrics | None = None, **options: Any) -> Service:
    """With a jitter of a half: the first wait is 0.25 s."""
    filled = RetryOptions(**options)
    return stack(Retry(filled, metrics or Metrics(), jitter=lambda: 0.5), service=service)


@virtual_time
async def test_an_answer_passes_through() -> None:
    provider = ScriptedProvider(chat_stream("a"))
    raw = await read(await retrying(provider)(chat_call(stream=True)))
    assert (raw, provider.tries, now()) == (b"".join(chat_stream("a")), [1], 0.0)


@virtual_time
async def test_a_retry_is_invisible_before_the_first_chunk() -> None:
    provider = ScriptedProvider(down(), [1.0, silent()], [unreachable()], [0.5, *chat_stream("a")])
    reply = await retrying(provider, attempts=4)(chat_call(stream=True))
    assert reply.end is None
    assert text_of(await read(reply)) == "a"
    assert provider.tries == [1, 2, 3, 4]
    assert now() == 0.25 + 1.0 + 0.5 + 1.0 + 0.5
    assert (provider.ends, provider.open) == ([End.FAILED, End.FAILED, End.COMPLETED], 0)


@virtual_time
async def test_a_whole_answer_that_came_cut_is_asked_for_again() -> None:
    whole = chat_answer("hello")
    for half in (whole[:40], chat_answer("hel", finish=None)):
        provider = ScriptedProvider([half], [whole])
        assert await read(await retrying(provider)(chat_call())) == whole
        assert provider.tries == [1, 2]


@virtual_time
async def test_an_error_after_the_first_chunk_is_the_readers() -> None:
    begin = chat_stream("a", "b")[:2]
    provider, got = ScriptedProvider([*begin, 2.0, cut()]), list[bytes]()
    reply = await retrying(provider)(chat_call(stream=True))
    with pytest.raises(Cut):
        await read(reply, got)
    assert (got, provider.tries, provider.ends, now()) == (begin, [1], [End.FAILED], 2.0)


@virtual_time
async def test_when_the_tries_are_spent_the_last_error_is_raised_with_their_number() -> None:
    provider, metrics = ScriptedProvider(down(), unreachable(), busy()), Metrics()
    with pytest.raises(Refused, match="busy") as raised:
        await retrying(provider, metrics)(chat_call())
    assert provider.tries == [1, 2, 3]
    assert raised.value.__notes__ == ["tried 3 times"]
    assert now() == 0.25 + 0.5
    assert metrics.retries.of("again").value == 2
    assert metrics.retries.of("attempts_spent").value == 1


@virtual_time
async def test_what_is_decided_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(Refused) as raised:
        await retrying(ScriptedProvider(down(), down()), attempts=2)(chat_call())
    facts = [vars(record)["facts"] for record in caplog.records if record.message == "retry.decided"]
    assert [(each["attempt"], each["decision"], each["wait_s"], each["sent"]) for each in facts] == [
        (1, "again", 0.25, "answered"),
        (2, "attempts_spent", 0.0, "answered"),
    ]
    assert raised.value.__notes__ == ["tried 2 times"]


@virtual_time
async def test_one_try_has_no_note_of_tries() -> None:
    with pytest.raises(Refused) as raised:
        await retrying(ScriptedProvider(down()), attempts=1)(chat_call())
    assert not hasattr(raised.value, "__notes__")


@pytest.mark.parametrize(
    "error",
    [
        Refused("nowhere", retryable=False, elsewhere=False, permanent=True),
        wrong(),
        Unavailable("resting"),
    ],
)
def test_what_cannot_pass_is_not_retried(error: StanchionError) -> None:
    @virtual_time
    async def run() -> None:
        provider = ScriptedProvider(error)
        with pytest.raises(type(error)):
            await retrying(provider)(chat_call())
        assert (provider.tries, now()) == ([1], 0.0)

    run()


@virtual_time
async def test_a_refusal_that_another_endpoint_need_not_share_is_tried_there_at_once() -> None:
    provider = ScriptedProvider(Refused("gone", status=404, retryable=False), [chat_answer()])
    await read(await retrying(provider)(chat_call()))
    assert ([call.never for call in provider.calls], now()) == ([frozenset(), {"scripted/m"}], 0.0)


@virtual_time
async def test_the_named_time_is_waited_for_with_jitter_on_top() -> None:
    provider = ScriptedProvider(busy(7.0), busy(20.0), [chat_answer()])
    await read(await retrying(provider)(chat_call()))
    assert now() == (7.0 + 0.7 * 0.5) + (20.0 + 2.0 * 0.5)


@virtual_time
async def test_without_jitter_the_named_time_is_waited_for_to_the_moment() -> None:
    provider = ScriptedProvider(busy(7.0), [chat_answer()])
    await read(
        await stack(Retry(RetryOptions(), Metrics(), jitter=lambda: 0.0), service=provider)(chat_call())
    )
    assert now() == 7.0


@virtual_time
async def test_the_longest_time_is_still_waited_for() -> None:
    provider = ScriptedProvider(busy(30.0), [chat_answer()])
    await read(
        await stack(Retry(RetryOptions(), Metrics(), jitter=lambda: 0.0), service=provider)(chat_call())
    )
    assert now() == 30.0


@virtual_time
async def test_a_named_time_that_is_too_long_is_not_waited_for() -> None:
    provider, metrics = ScriptedProvider(busy(30.0)), Metrics()
    with pytest.raises(Refused) as raised:
        await retrying(provider, metrics)(chat_call())
    assert (provider.tries, now(), raised.value.retry_after_s) == ([1], 0.0, 30.0)
    assert metrics.retries.of("asked_to_wait_too_long").value == 1


@virtual_time
async def test_a_retry_that_would_pass_the_deadline_is_not_tried() -> None:
    for deadline, tries in ((0.25, [1]), (0.2500001, [1, 2])):
        provider, began = ScriptedProvider(down(), [chat_answer()]), now()
        if len(tries) == 1:
            with pytest.raises(Refused):
                await retrying(provider)(chat_call(deadline=began + deadline))
            assert now() == began
        else:
            await read(await retrying(provider)(chat_call(deadline=began + deadline)))
        assert provider.tries == tries


@virtual_time
async def test_a_dead_key_is_never_asked_again_and_another_one_at_once() -> None:
    """What `never` names is left out by Balance, which then finds nobody."""
    asked: list[frozenset[str]] = []
    first, second = ScriptedProvider(dead(), name="a/m"), ScriptedProvider([chat_answer()], name="b/m")

    async def balance(call, /):
        asked.append(call.never)
        return await (second if "a/m" in call.never else first)(call)

    await read(await retrying(balance)(chat_call()))
    assert (asked, now()) == ([frozenset(), frozenset(("a/m",))], 0.0)


@virtual_time
async def test_when_nobody_else_is_left_the_reason_is_raised_and_not_that_nobody_is() -> None:
    async def nobody(call, /):
        if call.attempt == 1:
            error = dead()
            error.endpoint = "a/m"
            raise error
        raise Unavailable("no other endpoint is left")

    with pytest.raises(Refused, match="no money"):
        await retrying(nobody)(chat_call())
    assert now() == 0.0


@virtual_time
async def test_the_next_try_knows_who_failed_and_how() -> None:
    provider = ScriptedProvider(down(), silent(), dead(), [chat_answer()], name="a/m")
    await read(await retrying(provider, attempts=4)(chat_call()))
    a = frozenset(("a/m",))
    assert [(call.avoid, call.silent, call.never) for call in provider.calls] == [
        (frozenset(), frozenset(), frozenset()),
        (a, frozenset(), frozenset()),
        (a, a, frozenset()),
        (a, a, a),
    ]


@virtual_time
async def test_an_outage_costs_a_tenth_more_calls_or_the_floor() -> None:
    for ratio, floor, calls, most in (
        (0.1, 10, 1000, 1100),
        (0.1, 10, 5, 15),
        (0.0, 0, 100, 100),
        (0.5, 0, 100, 150),
    ):
        provider, metrics = ScriptedProvider(forever=down), Metrics()
        service = retrying(provider, metrics, budget_ratio=ratio, budget_floor=floor)
        begun = now()
        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(fails(service))
        assert len(provider.calls) <= most
        assert len(provider.calls) >= min(most, 3 * calls) - 1
        assert now() - begun < 10.0  # within one window
        spent = metrics.retries.of("budget_spent").value
        assert spent + metrics.retries.of("attempts_spent").value == calls


async def fails(service: Service) -> None:
    with pytest.raises(Refused):
        await service(chat_call())


@virtual_time
async def test_a_call_that_is_cancelled_while_it_waits_holds_nothing() -> None:
    provider = ScriptedProvider([busy(20.0)])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(fails(retrying(provider)))
        await asyncio.sleep(1.0)
        assert provider.open == 0
        task.cancel()
    assert (provider.tries, now()) == ([1], 1.0)


@virtual_time
async def test_a_call_that_is_cancelled_before_the_first_chunk_closes_the_attempt() -> None:
    provider = ScriptedProvider([60.0, *chat_stream("a")])
    service = retrying(provider)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(answer(service, chat_call(stream=True)))
        await asyncio.sleep(1.0)
        assert provider.open == 1
        task.cancel()
    assert (provider.open, provider.ends) == (0, [End.CANCELLED])


@virtual_time
async def test_a_reader_that_leaves_after_a_retry_closes_the_stream() -> None:
    provider = ScriptedProvider(down(), chat_stream("a", "b"))
    async with await retrying(provider)(chat_call(stream=True)) as reply:
        await anext(reply)
        assert provider.open == 1
    assert (provider.open, provider.ends) == (0, [End.CANCELLED])


@virtual_time
async def test_the_options_of_one_call_go_over_the_configured_ones() -> None:
    provider = ScriptedProvider(down())
    with pytest.raises(Refused):
        await retrying(provider)(chat_call().having(options={RetryOptions: RetryOptions(attempts=1)}))
    assert provider.tries == [1]


@virtual_time
async def test_the_three_ways_a_call_can_fail_to_get_through_are_all_retried() -> None:
    for error in (unreachable, silent, down):
        provider = ScriptedProvider(error(), [chat_answer()])
        await read(await retrying(provider)(chat_call()))
        assert provider.tries == [1, 2]
    assert issubclass(Silent, StanchionError)
    assert issubclass(Unreachable, StanchionError)
