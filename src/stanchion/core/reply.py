"""A Reply is always a stream of Chunks with one reader; a whole answer is a stream of one chunk.

It ends exactly once: COMPLETED, FAILED or CANCELLED.  Hooks at the end are synchronous, so they cannot
be cut half-way; what must do I/O then goes to the engine's outbox.  One that is dropped unclosed ends too, when
it is collected: as CANCELLED, with a ResourceWarning.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Protocol, Self

from stanchion.core.chunk import Chunk
from stanchion.core.head import End, Head
from stanchion.core.usage import Usage

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where chunks come from.  An async generator is one."""

    def __anext__(self) -> Awaitable[Chunk]: ...
    def aclose(self) -> Awaitable[None]: ...


class Feed(Source, Protocol):
    """A source that can be asked without waiting: a chunk costs one plain call, and no coroutine."""

    def take(self) -> Chunk | None:
        """Return the next chunk; None if it is not here.  Raises StopAsyncIteration at the end."""
        ...

    def more(self) -> Awaitable[None]:
        """Return what to await before the next `take`.  It raises nothing but a cancellation."""
        ...


EndHook = Callable[[End, BaseException | None], None]  # sync on purpose: cannot be cancelled half-way
Stage = Callable[[AsyncIterator[Chunk]], AsyncGenerator[Chunk, None]]


class Reply:
    """An async iterator of chunks with one reader.  Whoever holds a Reply closes it (`async with`)."""

    __slots__ = (
        "__weakref__",
        "_feed",
        "_hooks",
        "_kept",
        "_loop",
        "_stages",
        "_top",
        "end",
        "error",
        "first_at",
        "head",
        "usage",
    )

    def __init__(self, head: Head, source: Source, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """`loop` is the running one: who has it at hand spares us asking, which costs a call of the kernel's."""
        self.end: End | None = End.FAILED  # if there is none, there is nothing to close
        self._loop = loop or asyncio.get_running_loop()
        self.end = None
        self.head = head
        self.usage: Usage | None = None  # settled by the time the hooks run
        self.error: BaseException | None = None  # with which it failed
        self.first_at: float | None = None  # when the first chunk came, on the loop's clock
        self._top = source
        self._feed: Feed | None = None  # the source, if it is one and nothing stands over it
        self._stages: list[Source] | None = None  # those below the top, innermost first
        self._hooks: list[EndHook] = []
        self._kept: Chunk | None = None  # the first chunk, waited for and not yet read

    @classmethod
    def whole(
        cls,
        head: Head,
        chunk: Chunk,
        usage: Usage | None = None,
        *,
        at: float | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Self:
        """Make the reply of a whole answer that is already here, since `at` on the loop's clock; else now."""
        reply = cls(head, _ENDED, loop)
        reply._kept = chunk
        reply.usage = usage
        reply.first_at = reply._loop.time() if at is None else at
        return reply

    @classmethod
    def fed(cls, head: Head, feed: Feed, loop: asyncio.AbstractEventLoop | None = None) -> Self:
        """Make the reply of a source that can be asked without waiting."""
        reply = cls(head, feed, loop)
        reply._feed = feed
        return reply

    def on_end(self, hook: EndHook) -> Self:
        """Run `hook` once when the reply ends, however it ends.  Innermost filter's hook first."""
        self._hooks.append(hook)
        if self.end is not None:  # an answer without a chunk ends while its first one is waited for
            self._settle(self.end, self.error)
        return self

    def through(self, stage: Stage) -> Self:
        """Pass every chunk from here on through `stage`, an async generator function."""
        below: AsyncIterator[Chunk] = _Upwards(self._top)
        if self._kept is not None:
            below = _put_back(self._kept, below)
            self._kept = None
        self._stages = [*(self._stages or ()), self._top]
        self._top, self._feed = stage(below), None
        return self

    def first(self) -> Awaitable[None]:
        """Wait until the first chunk is there, and keep it: before that a retry is invisible."""
        return self._first() if self._kept is None and self.end is None else _HERE

    async def _first(self) -> None:
        with contextlib.suppress(StopAsyncIteration):
            self._kept = await self._next()

    def take_whole(self) -> bytes | None:
        """Return all bytes of a whole answer that nobody has changed, which ends it; None if it must be read."""
        if self._kept is None or self._top is not _ENDED:
            return None
        raw = self._kept.raw
        self._settle(End.COMPLETED, None)
        return raw

    async def read_whole(self) -> bytes:
        """Read to the end and return all bytes."""
        raw = self.take_whole()
        if raw is not None:
            return raw
        parts = [chunk.raw async for chunk in self]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def aclose(self) -> None:
        """End the reply now.  Closing an ended reply does nothing."""
        if self.end is None:
            await self._finish(End.CANCELLED, None)

    async def _finish(self, end: End, error: BaseException | None) -> None:
        self.end, self.error = end, error  # set first: nothing below can end it a second time
        try:
            if self._stages is None:
                await self._top.aclose()
            else:
                await _close([*self._stages, self._top])
        finally:
            self._settle(end, error)

    def _settle(self, end: End, error: BaseException | None) -> None:
        """Run the hooks; let go of all: a hook that knows its reply would be a circle for the collector."""
        self.end, self.error = end, error
        hooks, self._hooks = self._hooks, []
        self._top, self._feed, self._stages, self._kept = _ENDED, None, None, None
        for hook in hooks:
            try:
                hook(end, error)
            except Exception:  # one broken hook must not starve the next
                log.exception("reply.hook_failed")

    def __anext__(self) -> Awaitable[Chunk]:
        # a plain function: a coroutine less per chunk
        return self._next() if self._kept is None else self._take_kept()

    async def _take_kept(self) -> Chunk:
        chunk, self._kept = self._kept, None
        assert chunk is not None  # noqa: S101 - one reader
        return chunk

    async def _next(self) -> Chunk:
        if self.end is not None:
            raise StopAsyncIteration
        try:
            feed = self._feed
            if feed is None:
                chunk = await self._top.__anext__()
            else:
                while (chunk := feed.take()) is None:
                    await feed.more()
        except StopAsyncIteration:
            await self._finish(End.COMPLETED, None)
            raise
        except asyncio.CancelledError as error:
            await self._finish(End.CANCELLED, error)
            raise
        except BaseException as error:
            await self._finish(End.FAILED, error)
            raise
        if self.first_at is None:
            self.first_at = self._loop.time()
        return chunk

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.end is None:
            await self.aclose()

    def __del__(self) -> None:
        if self.end is None:  # the collector may run in any thread
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left who counts
                self._loop.call_soon_threadsafe(self._give_up)
            warnings.warn("a Reply was never closed", ResourceWarning, stacklevel=1, source=self)

    def _give_up(self) -> None:
        """End a reply that nobody holds any more: what it holds itself is given back, and nothing waits."""
        closing = self._finish(End.CANCELLED, None)
        try:
            closing.send(None)  # as far as it goes without waiting: a socket is closed at once
            closing.close()
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - whatever a source raises: nobody is there to hear it
            log.debug("reply.given_up: %s", type(error).__name__)
        finally:
            self._settle(End.CANCELLED, None)


class _Nothing:
    """The source of a reply that has nothing more: it ended, or its one chunk is kept."""

    __slots__ = ()

    async def __anext__(self) -> Chunk:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        pass


_ENDED = _Nothing()


class _Here:
    """What to await where there is nothing to wait for."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_HERE = _Here()


class _Upwards:
    """A source as an async iterator."""

    __slots__ = ("_source",)

    def __init__(self, source: Source) -> None:
        self._source = source

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        return await self._source.__anext__()


async def _close(sources: list[Source]) -> None:
    """Close the last, then those below it, also where one of them fails or is cancelled."""
    try:
        await sources.pop().aclose()
    finally:
        if sources:
            await _close(sources)


async def _put_back(chunk: Chunk, rest: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
    yield chunk
    async for later in rest:
        yield later
