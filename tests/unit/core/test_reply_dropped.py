"""A reply that is dropped unclosed ends when it is collected: nothing stays taken for a reader that is gone."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

import pytest

from stanchion.core.call import Body, Call, Operation
from stanchion.core.chunk import Chunk
from stanchion.core.reply import End, Head, Reply
from stanchion.policies.places import Places
from stanchion.testing import virtual_time

pytestmark = pytest.mark.filterwarnings("ignore:a Reply was never closed:ResourceWarning")


class Source:
    """Always has a chunk; closing it takes a while, or fails."""

    def __init__(self, close_s: float = 0.0, error: Exception | None = None) -> None:
        self.close_s = close_s
        self.error = error
        self.closed = 0

    async def __anext__(self) -> Chunk:
        return Chunk(b"a", lambda _: ())

    async def aclose(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error
        if self.close_s:
            await asyncio.sleep(self.close_s)


class Told:
    """What the hooks were told, and in which thread."""

    def __init__(self) -> None:
        self.ends = list[End]()
        self.threads = set[int]()

    def __call__(self, reply: Reply | None, end: End, error: BaseException | None) -> None:
        self.ends.append(end)
        self.threads.add(threading.get_ident())


async def twice(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
    async for each in chunks:
        yield each
        yield each


async def _collected() -> None:
    gc.collect()
    await asyncio.sleep(0)


@virtual_time
async def test_a_dropped_reply_is_cancelled_once_and_its_source_is_closed() -> None:
    for read in (False, True):
        source, told = Source(), Told()
        reply = Reply(Head(), source).on_end(partial(told, None))
        if read:
            await anext(reply)
        del reply
        await _collected()
        assert (told.ends, source.closed) == ([End.CANCELLED], 1)


@virtual_time
async def test_what_stands_over_a_dropped_replys_source_is_closed_too() -> None:
    source, told = Source(), Told()
    reply = Reply(Head(), source).on_end(partial(told, None)).through(twice)
    await anext(reply)
    del reply
    await _collected()
    assert (told.ends, source.closed) == ([End.CANCELLED], 1)


@virtual_time
async def test_a_dropped_whole_answer_is_cancelled_once() -> None:
    told = Told()
    Reply.whole(Head(), Chunk(b"all", lambda _: ())).on_end(partial(told, None))
    await _collected()
    assert told.ends == [End.CANCELLED]


@virtual_time
async def test_a_dropped_reply_that_its_own_hook_knows_ends_when_the_collector_comes() -> None:
    source, told = Source(), Told()
    reply = Reply(Head(), source)
    reply.on_end(partial(told, reply))
    del reply
    await _collected()
    assert (told.ends, source.closed) == ([End.CANCELLED], 1)


@virtual_time
async def test_a_reply_dropped_in_another_thread_ends_in_its_loops() -> None:
    told = Told()
    held = [Reply(Head(), Source()).on_end(partial(told, None))]
    await asyncio.to_thread(held.clear)
    await _collected()
    assert (told.ends, told.threads) == ([End.CANCELLED], {threading.get_ident()})


@pytest.mark.parametrize("source", [Source(close_s=60.0), Source(error=OSError("broken"))])
def test_a_source_that_closes_slowly_or_badly_keeps_no_dropped_reply(source: Source) -> None:
    @virtual_time
    async def run() -> None:
        told = Told()
        reply = Reply(Head(), source).on_end(partial(told, None))
        del reply
        await _collected()
        assert (told.ends, source.closed) == ([End.CANCELLED], 1)
        assert asyncio.get_running_loop().time() == 0.0

    run()


def test_a_reply_dropped_after_its_loop_ended_raises_nothing() -> None:
    async def make() -> Reply:
        return Reply(Head(), Source())

    reply = asyncio.run(make())
    del reply
    gc.collect()


def test_a_reply_needs_a_loop_and_without_one_nothing_is_left_open() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        Reply(Head(), Source())
    gc.collect()


@virtual_time
async def test_a_place_is_free_again_when_the_reader_let_its_reply_go() -> None:
    async def service(_: Call) -> Reply:
        return Reply(Head(), Source())

    places = Places(1)
    reply = await places(Call(operation=Operation.CHAT, body=Body({}), model="m", stream=True), service)
    async for _ in reply:
        break
    del reply
    await _collected()
    assert places.ready_in() == 0.0
