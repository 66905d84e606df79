"""Gather: a whole answer, fetched as a stream."""

from __future__ import annotations

import asyncio
import json

import pytest

from stanchion.core.call import Call, Operation
from stanchion.core.errors import Cut, Refused, UpstreamError
from stanchion.core.reply import End
from stanchion.core.service import Service, stack
from stanchion.core.usage import Usage
from stanchion.observe.metrics import Metrics
from stanchion.policies.gather import Gather, GatherOptions
from stanchion.policies.retry import Retry, RetryOptions
from stanchion.testing import (
    DONE,
    ScriptedProvider,
    chat_answer,
    chat_call,
    chat_chunk,
    chat_stream,
    virtual_time,
)
from tests.unit.policies.reading import answer, cut, down, now, read


def gathering(provider: Service, *, on: bool = True) -> Service:
    return stack(Gather(GatherOptions(whole_as_stream=on)), service=provider)


@virtual_time
async def test_a_whole_answer_is_put_together_from_a_stream() -> None:
    provider = ScriptedProvider([1.0, *chat_stream("hel", "lo", usage=(5, 2))])
    call = chat_call()
    reply = await gathering(provider)(call)
    assert (reply.usage, reply.head.endpoint, now()) == (Usage(input=5, output=2), provider.name, 1.0)
    whole, expected = json.loads(await read(reply)), json.loads(chat_answer("hello"))
    assert whole == expected
    asked = provider.calls[0]
    assert (asked.stream, asked.body.fields["stream"]) == (True, True)
    assert asked.body.fields["stream_options"] == {"include_usage": True}
    assert (call.stream, "stream" in call.body.fields) == (False, False)
    assert provider.ends == [End.COMPLETED]


@pytest.mark.parametrize(
    ("on", "call"),
    [
        (False, chat_call()),
        (True, chat_call(stream=True)),
        (True, chat_call(input="x").having(operation=Operation.EMBEDDINGS)),
    ],
)
def test_other_calls_pass_through(on: bool, call: Call) -> None:
    @virtual_time
    async def run() -> None:
        embedded = b'{"data":[]}'
        script = chat_stream("a") if call.stream else [chat_answer()]
        provider = ScriptedProvider([embedded] if call.operation is Operation.EMBEDDINGS else script)
        await read(await gathering(provider, on=on)(call))
        assert provider.calls == [call]

    run()


@virtual_time
async def test_the_callers_stream_options_are_kept() -> None:
    provider = ScriptedProvider(chat_stream("a"))
    await read(await gathering(provider)(chat_call(stream_options={"include_obfuscation": False})))
    assert provider.calls[0].body.fields["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }


@virtual_time
async def test_a_cut_before_or_after_the_first_event_is_raised_and_can_be_tried_again() -> None:
    provider = ScriptedProvider(down(), [*chat_stream("a")[:2], cut()], chat_stream("ok"))
    for kind in (Refused, Cut):
        with pytest.raises(kind):
            await gathering(provider)(chat_call())
    assert (provider.ends, provider.open) == ([End.FAILED], 0)
    script = [[*chat_stream("a")[:2], cut()], [*chat_stream("a")[:2], cut()], chat_stream("ok")]
    again = ScriptedProvider(*script)
    service = stack(Retry(RetryOptions(), Metrics(), jitter=lambda: 0.0), service=gathering(again))
    assert json.loads(await read(await service(chat_call())))["choices"][0]["message"]["content"] == "ok"
    assert again.tries == [1, 2, 3]


@pytest.mark.parametrize(
    "stream",
    [
        [chat_chunk("no end"), DONE],
        [DONE],
        [b"data: [1]\n\n", DONE],
        [b'data: {"choices":[5]}\n\n', DONE],
        [b'data: {"choices":"odd"}\n\n', DONE],
        [b"data: nonsense\n\n", DONE],
    ],
)
def test_a_stream_that_makes_no_answer_is_the_providers_fault(stream: list[bytes]) -> None:
    @virtual_time
    async def run() -> None:
        provider = ScriptedProvider(stream)
        with pytest.raises(UpstreamError) as raised:
            await gathering(provider)(chat_call())
        assert (provider.open, raised.value.endpoint) == (0, provider.name)

    run()


@virtual_time
async def test_a_call_that_is_cancelled_closes_the_stream() -> None:
    provider = ScriptedProvider([*chat_stream("a")[:1], 9.0])
    task = asyncio.get_running_loop().create_task(answer(gathering(provider), chat_call()))
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.wait([task])
    assert (provider.open, provider.ends) == (0, [End.CANCELLED])


@virtual_time
async def test_a_reader_that_leaves_has_nothing_to_close() -> None:
    provider = ScriptedProvider(chat_stream("a"))
    reply = await gathering(provider)(chat_call())
    assert provider.open == 0
    await reply.aclose()
    assert reply.end is End.CANCELLED
