"""A reply of a source that can be asked without waiting ends as any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable

import pytest

from stanchion.core.chunk import Chunk
from stanchion.core.errors import Cut
from stanchion.core.reply import End, Head, Reply
from stanchion.testing import virtual_time

Step = bytes | BaseException


class Feed:
    """Hands out what it was given; counts how often it is awaited and closed."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.ended = False
        self.waits = self.closed = 0
        self._waiter: asyncio.Future[None] | None = None

    def give(self, *steps: Step, end: bool = False) -> None:
        self.steps.extend(steps)
        self.ended = end
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take(self) -> Chunk | None:
        if self.steps:
            step = self.steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            return Chunk(step, lambda _: ())
        if self.ended:
            raise StopAsyncIteration
        return None

    def more(self) -> Awaitable[None]:
        self.waits += 1
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    async def __anext__(self) -> Chunk:
        while (chunk := self.take()) is None:
            await self.more()
        return chunk

    async def aclose(self) -> None:
        self.closed += 1


def noted(feed: Feed) -> tuple[Reply, list[tuple[End, BaseException | None]]]:
    ends: list[tuple[End, BaseException | None]] = []
    return Reply.fed(Head(), feed).on_end(lambda end, error: ends.append((end, error))), ends


async def louder(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
    async for each in chunks:
        yield Chunk(each.raw.upper(), lambda _: ())


@virtual_time
async def test_what_is_there_is_taken_without_waiting() -> None:
    feed = Feed(b"a", b"b")
    feed.ended = True
    reply, ends = noted(feed)
    async with reply:
        assert [chunk.raw async for chunk in reply] == [b"a", b"b"]
    assert (feed.waits, feed.closed) == (0, 1)
    assert ends == [(End.COMPLETED, None)]


@virtual_time
async def test_what_comes_later_is_waited_for() -> None:
    feed = Feed()
    reply, ends = noted(feed)
    loop = asyncio.get_running_loop()
    loop.call_later(1.0, feed.give, b"a")
    loop.call_later(2.0, feed.give)  # woken for nothing
    loop.call_later(3.0, lambda: feed.give(b"b", end=True))
    async with reply:
        await reply.first()
        assert reply.first_at == loop.time() == 1.0
        assert [chunk.raw async for chunk in reply] == [b"a", b"b"]
    assert feed.closed == 1
    assert ends == [(End.COMPLETED, None)]


@virtual_time
async def test_a_failure_of_the_feed_is_raised_and_told() -> None:
    cut = Cut("gone")
    feed = Feed(b"a", cut)
    reply, ends = noted(feed)
    async with reply:
        assert (await anext(reply)).raw == b"a"
        with pytest.raises(Cut):
            await anext(reply)
    assert feed.closed == 1
    assert ends == [(End.FAILED, cut)]


@virtual_time
async def test_a_reader_that_is_cancelled_while_it_waits_closes_the_feed() -> None:
    feed = Feed()
    reply, ends = noted(feed)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(reply.read_whole())
        await asyncio.sleep(1.0)
        reading.cancel()
    assert feed.closed == 1
    assert [end for end, _ in ends] == [End.CANCELLED]


@virtual_time
async def test_a_reply_that_has_ended_never_asks_its_feed_again() -> None:
    feed = Feed(b"a", b"b")
    reply, _ = noted(feed)
    await anext(reply)
    await reply.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(reply)
    assert len(feed.steps) == 1


@virtual_time
async def test_a_stage_over_a_feed_sees_every_chunk() -> None:
    feed = Feed(b"a", b"b")
    feed.ended = True
    reply, ends = noted(feed)
    async with reply.through(louder):
        assert [chunk.raw async for chunk in reply] == [b"A", b"B"]
    assert feed.closed == 1
    assert ends == [(End.COMPLETED, None)]
