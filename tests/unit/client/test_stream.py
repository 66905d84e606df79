"""A stream that is left early ends its call, however it is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable

import pytest

from stanchion.client.answers import ChatReply
from stanchion.client.cost import Prices
from stanchion.client.stream import Stream, whole_chat
from stanchion.core.reply import End
from stanchion.testing import ScriptedProvider, chat_call, chat_stream, virtual_time

Leave = Callable[[Stream[ChatReply]], Awaitable[None]]


async def by_break(stream: Stream[ChatReply]) -> None:
    async for _ in stream:
        break


async def after_one(stream: Stream[ChatReply]) -> None:
    await anext(stream)


async def after_a_read(stream: Stream[ChatReply]) -> None:
    await stream.take()


async def entered(stream: Stream[ChatReply]) -> None:
    await stream.__aenter__()


async def entered_and_by_break(stream: Stream[ChatReply]) -> None:
    await stream.__aenter__()
    async for _ in stream:
        break


async def entered_and_by_error(stream: Stream[ChatReply]) -> None:
    async with stream:
        await anext(stream)
        raise ValueError("the reader's own")


@pytest.mark.filterwarnings("ignore:a Reply was never closed:ResourceWarning")
@pytest.mark.parametrize(
    "leave", [by_break, after_one, after_a_read, entered, entered_and_by_break, entered_and_by_error]
)
def test_a_stream_that_is_left_and_let_go_ends_its_call(leave: Leave) -> None:
    @virtual_time
    async def run() -> None:
        provider = ScriptedProvider(list(chat_stream("a", "b", "c")))

        async def read() -> None:
            with contextlib.suppress(ValueError):
                await leave(Stream(chat_call(stream=True), provider, Prices({}), whole_chat))

        await read()
        for _ in range(2):  # a generator is closed in a task, which holds the stream until it is done
            gc.collect()
            await asyncio.sleep(1.0)
        assert (provider.open, provider.ends) == (0, [End.CANCELLED])

    run()


@virtual_time
async def test_a_break_ends_the_call_while_the_stream_is_still_held() -> None:
    provider = ScriptedProvider(list(chat_stream("a", "b", "c")))
    stream = Stream(chat_call(stream=True), provider, Prices({}), whole_chat)
    await by_break(stream)
    await asyncio.sleep(1.0)
    assert (provider.open, provider.ends, stream.ended) == (0, [End.CANCELLED], True)
