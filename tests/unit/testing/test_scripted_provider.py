"""The provider that plays a script keeps the rules a real one keeps."""

from __future__ import annotations

import asyncio
import json

import pytest

from stanchion.core.call import Patience
from stanchion.core.errors import Cut, DeadlineExceeded, Refused, Silent, UpstreamError
from stanchion.core.reply import End
from stanchion.core.usage import Usage
from stanchion.testing import DONE, ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from stanchion.wire.answers import read_chat_events


@virtual_time
async def test_entries_are_played_one_a_try_and_then_the_one_for_ever() -> None:
    provider = ScriptedProvider([chat_answer("1")], Refused("no"), forever=lambda: [chat_answer("2")])
    texts: list[str] = []
    for attempt in range(1, 5):
        try:
            async with await provider(chat_call().having(attempt=attempt)) as reply:
                texts.append(json.loads(await reply.read_whole())["choices"][0]["message"]["content"])
        except Refused as error:
            texts.append(f"no, says {error.endpoint}")
    assert (texts, provider.tries) == (["1", "no, says scripted/m", "2", "2"], [1, 2, 3, 4])


@virtual_time
async def test_a_script_that_is_over_is_an_error_of_the_test() -> None:
    with pytest.raises(AssertionError, match="asked 1 times"):
        await ScriptedProvider()(chat_call())


@virtual_time
async def test_open_replies_and_their_ends_are_counted() -> None:
    provider = ScriptedProvider(chat_stream("a"), chat_stream("a"), [chat_answer()])
    first, second = await provider(chat_call(stream=True)), await provider(chat_call(stream=True))
    assert (provider.open, provider.in_flight) == (2, 2)
    await first.read_whole()
    await second.aclose()
    await (await provider(chat_call())).read_whole()
    assert (provider.open, provider.ends) == (0, [End.COMPLETED, End.CANCELLED, End.COMPLETED])


@virtual_time
async def test_it_ends_by_the_deadline_and_is_as_patient_as_the_call_says() -> None:
    patience = Patience(first_token_s=3.0, stall_s=2.0, total_s=100.0)
    cases = [
        ([99.0, *chat_stream("a")], 50.0, Silent, 3.0),
        ([*chat_stream("a")[:1], 99.0], 50.0, Cut, 2.0),
        ([*chat_stream("a")[:1], 99.0], 1.5, DeadlineExceeded, 1.5),
        ([99.0], 1.5, DeadlineExceeded, 1.5),
    ]
    for steps, within, kind, took in cases:
        began = asyncio.get_running_loop().time()
        call = chat_call(stream=True, deadline=began + within).having(patience=patience)
        with pytest.raises(kind):
            await (await ScriptedProvider(steps)(call)).read_whole()
        assert asyncio.get_running_loop().time() - began == took


@virtual_time
async def test_a_stream_that_does_not_say_its_end_is_cut_and_a_half_answer_is_refused() -> None:
    with pytest.raises(Cut):
        await (await ScriptedProvider(chat_stream("a")[:-1])(chat_call(stream=True))).read_whole()
    for half in (chat_answer()[:-1], chat_answer(finish=None), b"".join(chat_stream("a"))):
        provider = ScriptedProvider([half])
        with pytest.raises(UpstreamError):
            await provider(chat_call())
        assert provider.open == 0


@virtual_time
async def test_what_it_used_is_in_the_trail_told_or_estimated() -> None:
    for stream, left, usage in (
        (chat_stream("a", "b", usage=(5, 2)), False, Usage(input=5, output=2)),
        (chat_stream("a", "b"), False, Usage(output=2, estimated=True)),
        (chat_stream("a", "b", usage=(5, 2)), True, Usage(output=0, estimated=True)),
    ):
        call = chat_call(stream=True)
        async with await ScriptedProvider(stream)(call) as reply:
            await (anext(reply) if left else reply.read_whole())
        assert (call.trail.usage, reply.usage) == (usage, usage)


def test_streams_read_as_they_were_written() -> None:
    stream = chat_stream("hel", "lo", finish="length", usage=(1, 2))
    assert stream[-1] == DONE
    events = read_chat_events(b"".join(stream))
    assert "".join(event.text for event in events) == "hello"
    assert [event.finish_reason for event in events][-2:] == ["length", None]
