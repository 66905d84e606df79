"""A reply ends exactly once, and whoever asked is told how."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from stanchion.core.chunk import Chunk, Event
from stanchion.core.errors import Cut
from stanchion.core.reply import End, Head, Reply
from stanchion.core.usage import Usage
from stanchion.testing import virtual_time

Step = bytes | float | BaseException


class Source:
    """Plays steps; counts how often it is closed."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.closed = 0

    async def __anext__(self) -> Chunk:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, bytes):
                return chunk(step)
            await asyncio.sleep(step)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


def chunk(raw: bytes) -> Chunk:
    return Chunk(raw, lambda data: (Event(data=data, text=data.decode()),))


def noted(source: Source) -> tuple[Reply, list[tuple[End, BaseException | None]]]:
    ends: list[tuple[End, BaseException | None]] = []
    return Reply(Head(), source).on_end(lambda end, error: ends.append((end, error))), ends


async def louder(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
    async for each in chunks:
        yield chunk(each.raw.upper())


@virtual_time
async def test_a_reply_read_to_its_end_is_completed_once() -> None:
    source = Source(b"a", 2.0, b"b")
    reply, ends = noted(source)
    async with reply:
        assert [each.raw async for each in reply] == [b"a", b"b"]
        assert (reply.end, source.closed) == (End.COMPLETED, 1)
    assert (ends, source.closed, asyncio.get_running_loop().time()) == ([(End.COMPLETED, None)], 1, 2.0)


@virtual_time
async def test_a_reply_whose_source_raises_has_failed_once_with_that_error() -> None:
    source, cut = Source(b"a"), Cut("cut")
    source.steps.append(cut)
    reply, ends = noted(source)
    async with reply:
        with pytest.raises(Cut):
            async for _ in reply:
                pass
        assert reply.error is cut
        with pytest.raises(StopAsyncIteration):
            await anext(reply)
    assert (ends, source.closed) == ([(End.FAILED, cut)], 1)


@virtual_time
async def test_a_reply_closed_early_is_cancelled_once() -> None:
    source = Source(b"a", b"b")
    reply, ends = noted(source)
    async with reply:
        await anext(reply)
    await reply.aclose()
    assert (ends, source.closed) == ([(End.CANCELLED, None)], 1)


@virtual_time
async def test_a_reply_nobody_read_is_cancelled_once() -> None:
    source = Source(b"a")
    reply, ends = noted(source)
    await reply.aclose()
    await reply.aclose()
    assert (ends, source.closed, await reply.read_whole()) == ([(End.CANCELLED, None)], 1, b"")
    assert reply.end is End.CANCELLED  # reading on does not make it complete


@virtual_time
async def test_a_reader_that_is_cancelled_cancels_the_reply() -> None:
    source = Source(b"a", 60.0, b"b")
    reply, ends = noted(source)

    async def read() -> None:
        async with reply:
            async for _ in reply:
                pass

    async with asyncio.TaskGroup() as group:
        reader = group.create_task(read())
        await asyncio.sleep(1.0)
        reader.cancel()
    assert ([end for end, _ in ends], source.closed) == ([End.CANCELLED], 1)
    assert isinstance(reply.error, asyncio.CancelledError)


@virtual_time
async def test_waiting_for_the_first_chunk_keeps_it_for_the_reader() -> None:
    reply, ends = noted(Source(3.0, b"a", b"b"))
    await reply.first()
    await reply.first()
    assert (reply.first_at, ends) == (3.0, [])
    assert [each.raw async for each in reply] == [b"a", b"b"]
    assert (reply.first_at, ends) == (3.0, [(End.COMPLETED, None)])


@virtual_time
async def test_a_first_chunk_that_fails_raises_and_ends_the_reply() -> None:
    cut = Cut("cut")
    source = Source(cut)
    reply, ends = noted(source)
    with pytest.raises(Cut):
        await reply.first()
    await reply.first()  # it has ended: there is nothing to wait for
    assert (ends, source.closed) == ([(End.FAILED, cut)], 1)


@virtual_time
async def test_a_first_chunk_that_was_kept_and_not_read_is_let_go() -> None:
    source = Source(b"a")
    reply, ends = noted(source)
    async with reply:
        await reply.first()
    assert (ends, source.closed, [each async for each in reply]) == ([(End.CANCELLED, None)], 1, [])


@virtual_time
async def test_a_hook_added_after_the_end_is_told_too() -> None:
    reply, ends = noted(Source())
    await reply.first()  # an answer without a chunk ends here, below the filters further out
    later: list[End] = []
    reply.on_end(lambda end, _: later.append(end))
    await reply.aclose()
    assert (ends, later) == ([(End.COMPLETED, None)], [End.COMPLETED])


@virtual_time
async def test_the_innermost_hook_runs_first_and_a_broken_one_starves_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []

    def broken(end: End, error: BaseException | None) -> None:
        seen.append("broken")
        raise RuntimeError("a hook's own fault")

    reply = Reply(Head(), Source(b"a")).on_end(broken).on_end(lambda *_: seen.append("outer"))
    with caplog.at_level(logging.ERROR):
        assert await reply.read_whole() == b"a"
    assert seen == ["broken", "outer"]
    assert caplog.messages == ["reply.hook_failed"]


@virtual_time
async def test_hooks_run_after_the_source_is_closed() -> None:
    source, seen = Source(b"a"), list[int]()
    reply = Reply(Head(), source).on_end(lambda *_: seen.append(source.closed))
    await reply.aclose()
    assert seen == [1]


@virtual_time
async def test_a_stage_changes_every_chunk_also_the_first_that_was_waited_for() -> None:
    for wait in (False, True):
        reply, ends = noted(Source(b"a", b"b"))
        if wait:
            await reply.first()
        reply.through(louder)
        assert [each.raw async for each in reply] == [b"A", b"B"]
        assert ends == [(End.COMPLETED, None)]


@virtual_time
async def test_stages_are_laid_one_over_the_other() -> None:
    async def twice(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        async for each in chunks:
            yield chunk(each.raw * 2)

    reply, _ = noted(Source(b"ab"))
    reply.through(louder).through(twice)
    await reply.first()
    reply.through(louder)
    assert await reply.read_whole() == b"ABAB"


@virtual_time
async def test_closing_early_closes_every_stage_and_the_source() -> None:
    closed: list[str] = []

    def stage(name: str):
        async def run(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
            try:
                async for each in chunks:
                    yield each
            finally:
                closed.append(name)

        return run

    source = Source(b"a", b"b")
    reply, ends = noted(source)
    reply.through(stage("inner")).through(stage("outer"))
    async with reply:
        await anext(reply)
    assert (closed, source.closed, ends) == (["outer", "inner"], 1, [(End.CANCELLED, None)])


@virtual_time
async def test_a_stage_that_fails_at_its_end_leaves_no_source_open() -> None:
    async def stage(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        try:
            async for each in chunks:
                yield each
        finally:
            raise RuntimeError("at its end")

    source = Source(b"a", b"b")
    reply, ends = noted(source)
    reply.through(louder).through(stage)
    with pytest.raises(RuntimeError, match="at its end"):
        async with reply:
            await anext(reply)
    assert (source.closed, ends) == (1, [(End.CANCELLED, None)])


@virtual_time
async def test_a_cancellation_while_a_stage_is_closed_leaves_no_source_open() -> None:
    async def slow(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        try:
            async for each in chunks:
                yield each
        finally:
            await asyncio.sleep(60.0)

    source = Source(b"a", b"b")
    reply, ends = noted(source)
    reply.through(slow)
    await anext(reply)
    async with asyncio.TaskGroup() as group:
        closer = group.create_task(reply.aclose())
        await asyncio.sleep(1.0)
        closer.cancel()
    assert (source.closed, ends) == (1, [(End.CANCELLED, None)])


@virtual_time
async def test_a_stage_that_raises_fails_the_reply() -> None:
    async def picky(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        async for _ in chunks:
            raise Cut("not this one")
        yield chunk(b"")

    source = Source(b"a")
    reply, ends = noted(source)
    reply.through(picky)
    with pytest.raises(Cut):
        await reply.first()
    assert ([end for end, _ in ends], source.closed) == ([End.FAILED], 1)


@virtual_time
async def test_a_stage_that_ends_early_completes_the_reply_and_closes_the_source() -> None:
    async def one(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        async for each in chunks:
            yield each
            return

    source = Source(b"a", b"b")
    reply, ends = noted(source)
    reply.through(one)
    assert await reply.read_whole() == b"a"
    assert (source.closed, ends) == (1, [(End.COMPLETED, None)])


@virtual_time
async def test_a_whole_answer_is_a_stream_of_one_chunk() -> None:
    for read in ("whole", "chunks", "changed", "closed"):
        ends: list[End] = []
        reply = Reply.whole(Head(), chunk(b"all")).on_end(lambda end, _, ends=ends: ends.append(end))
        await reply.first()
        if read == "whole":
            assert await reply.read_whole() == b"all"
        elif read == "chunks":
            assert [each.raw async for each in reply] == [b"all"]
        elif read == "changed":
            assert await reply.through(louder).read_whole() == b"ALL"
        await reply.aclose()
        assert ends == [End.CANCELLED if read == "closed" else End.COMPLETED]
        assert await reply.read_whole() == b""


@virtual_time
async def test_read_whole_joins_all_chunks_and_fails_as_the_source_does() -> None:
    reply, _ = noted(Source(b"a", b"b", b"c"))
    assert await reply.read_whole() == b"abc"
    reply, ends = noted(Source(b"a", Cut("cut")))
    with pytest.raises(Cut):
        await reply.read_whole()
    assert ends[0][0] is End.FAILED


@virtual_time
async def test_read_whole_reads_on_from_the_first_chunk_that_was_waited_for() -> None:
    for steps in ((b"a",), (b"a", b"b"), (b"a", b"b", b"c")):
        reply, _ = noted(Source(*steps))
        await reply.first()
        assert await reply.read_whole() == b"".join(steps)
        assert reply.end is End.COMPLETED


@virtual_time
async def test_a_whole_answer_knows_its_head_its_usage_and_when_it_came() -> None:
    await asyncio.sleep(2.0)
    head, usage = Head(endpoint="a/m"), Usage(input=1)
    reply = Reply.whole(head, chunk(b"all"), usage)
    assert (reply.head, reply.usage, reply.first_at) == (head, usage, 2.0)
    assert (await reply.read_whole(), reply.end) == (b"all", End.COMPLETED)


@virtual_time
async def test_a_source_that_closes_its_own_reply_ends_it_once() -> None:
    class Circle(Source):
        async def aclose(self) -> None:
            await super().aclose()
            await reply.aclose()

    source = Circle(b"a")
    reply, ends = noted(source)
    assert await reply.read_whole() == b"a"
    assert (ends, source.closed) == ([(End.COMPLETED, None)], 1)


@virtual_time
async def test_a_reply_that_was_never_closed_says_so() -> None:
    reply, _ = noted(Source(b"a"))
    with pytest.warns(ResourceWarning, match="a Reply was never closed"):
        del reply
    gc.collect()


@virtual_time
async def test_an_ended_reply_says_nothing_when_it_goes() -> None:
    reply, _ = noted(Source(b"a"))
    await reply.aclose()
    del reply
    gc.collect()


def test_a_chunk_reads_its_events_once_and_only_when_asked() -> None:
    reads: list[bytes] = []

    def read(raw: bytes) -> tuple[Event, ...]:
        reads.append(raw)
        return (Event(text="a"), Event(text="b"))

    piece = Chunk(b"secret words", read)
    assert reads == []
    assert (piece.text, piece.text, len(piece.events)) == ("ab", "ab", 2)
    assert reads == [b"secret words"]
    assert "secret" not in repr(piece)
