"""Deadline: one budget of time for all that a call does."""

from __future__ import annotations

import asyncio
import math

import pytest

from stanchion.core.errors import DeadlineExceeded, Refused
from stanchion.core.reply import End
from stanchion.core.service import Service, stack
from stanchion.policies.deadline import Deadline, DeadlineOptions
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import answer, down, now, read


def bounded(provider: ScriptedProvider, total_s: float = 10.0) -> Service:
    return stack(Deadline(DeadlineOptions(total_s)), service=provider)


@virtual_time
async def test_an_answer_in_time_passes_through_with_its_deadline() -> None:
    provider = ScriptedProvider([9.0, chat_answer()])
    await asyncio.sleep(5.0)
    assert await read(await bounded(provider)(chat_call())) == chat_answer()
    assert (provider.calls[0].deadline, now()) == (15.0, 14.0)


@pytest.mark.parametrize(
    ("total_s", "own", "deadline"),
    [(10.0, 3.0, 3.0), (10.0, 99.0, 10.0), (0.0, 3.0, 3.0), (0.0, math.inf, math.inf)],
)
def test_the_earlier_of_the_calls_own_and_the_configured_one_counts(
    total_s: float, own: float, deadline: float
) -> None:
    @virtual_time
    async def run() -> None:
        provider = ScriptedProvider([chat_answer()])
        await read(await bounded(provider, total_s)(chat_call(deadline=own)))
        assert provider.calls[0].deadline == deadline

    run()


@virtual_time
async def test_a_reply_that_does_not_come_in_time_is_given_up_at_the_moment() -> None:
    class Deaf(ScriptedProvider):
        async def __call__(self, call, /):  # keeps no deadline itself
            return await super().__call__(call.having(deadline=math.inf))

    provider = Deaf([99.0, chat_answer()])
    with pytest.raises(DeadlineExceeded):
        await bounded(provider)(chat_call())
    assert (now(), provider.open) == (10.0, 0)


@virtual_time
async def test_a_stream_that_goes_on_too_long_is_ended_at_the_moment() -> None:
    provider, got = ScriptedProvider([*chat_stream("a")[:2], 99.0]), list[bytes]()
    with pytest.raises(DeadlineExceeded):
        await read(await bounded(provider)(chat_call(stream=True)), got)
    assert (got, now(), provider.ends) == (chat_stream("a")[:2], 10.0, [End.FAILED])


@virtual_time
async def test_a_call_whose_time_is_over_asks_nobody() -> None:
    provider = ScriptedProvider()
    await asyncio.sleep(5.0)
    with pytest.raises(DeadlineExceeded):
        await bounded(provider)(chat_call(deadline=5.0))
    assert provider.calls == []


@virtual_time
async def test_an_error_before_the_first_chunk_passes() -> None:
    with pytest.raises(Refused):
        await bounded(ScriptedProvider([1.0, down()]))(chat_call())
    assert now() == 1.0


@virtual_time
async def test_the_options_of_one_call_go_over_the_configured_ones() -> None:
    provider = ScriptedProvider([chat_answer()])
    await read(await bounded(provider)(chat_call().having(options={DeadlineOptions: DeadlineOptions(2.0)})))
    assert provider.calls[0].deadline == 2.0


@virtual_time
async def test_a_cancelled_call_stays_cancelled() -> None:
    provider = ScriptedProvider([9.0, chat_answer()])
    task = asyncio.get_running_loop().create_task(answer(bounded(provider), chat_call()))
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert provider.open == 0


@virtual_time
async def test_a_reader_that_leaves_early_closes_the_stream() -> None:
    provider = ScriptedProvider(chat_stream("a"))
    async with await bounded(provider)(chat_call(stream=True)) as reply:
        await anext(reply)
    await asyncio.sleep(60.0)
    assert (provider.ends, provider.open) == ([End.CANCELLED], 0)
