"""The body of a streamed answer: taken in a plain call, waited for in one future.

Why not the reader of the client library (aiohttp): for one event in one read it goes through eight
functions and three coroutines, a third of all that an event costs a process that idles between events
(measured 2026-11, docs/decisions/0026).  This one differs from it in three things only: where HTTP chunks
end is not remembered, since nobody asks; a failure wakes the reader, who then finds it, instead of being
thrown at it; reading is resumed only where it was paused.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

import aiohttp


class Reader(aiohttp.StreamReader):
    """A StreamReader with one reader.  Made out of the library's own by `adopt`, so it has no slot more."""

    __slots__ = ()

    @classmethod
    def adopt(cls, response: aiohttp.ClientResponse) -> Reader | None:
        """Turn the library's reader into one of these; None if there is no body to read."""
        answer = cast("Any", response)
        answer._request_info = None  # 1 KB with the key in it, which a stream would keep to its end
        content = response.content
        if type(content) is not aiohttp.StreamReader:
            return None  # of an empty body: shared by all of them
        reader = cast("Any", content)
        reader.__class__ = cls
        reader._http_chunk_splits = None
        reader._buffer = list(reader._buffer)  # a deque holds 0.6 KB when it is empty
        return reader

    @property
    def waits(self) -> bool:
        """Whether somebody waits for data now."""
        waiter = self._waiter
        return waiter is not None and not waiter.done()

    def take(self) -> bytes | None:
        """Return what has come, b"" at the end, None if nothing has: then await `more()`.

        Raises what broke the connection.
        """
        if self._exception is not None:
            raise self._exception
        buffer = self._buffer
        if not buffer:
            if self._eof:
                return b""
            if self._protocol.transport is None:
                raise aiohttp.ClientConnectionError("the connection was closed")
            return None
        if len(buffer) == 1:
            data = buffer.pop()
        else:
            data = b"".join(buffer)
            buffer.clear()
        self._size = 0
        if self._protocol._reading_paused:  # pyright: ignore[reportPrivateUsage] - it has no public name
            self._protocol.resume_reading()
        return data

    def more(self) -> Awaitable[None]:
        """Return what to await before the next `take`.  It raises nothing but a cancellation."""
        waiter = self._waiter = self._loop.create_future()
        return waiter

    async def readany(self) -> bytes:
        """Return the next data, b"" at the end."""
        while (data := self.take()) is None:
            await self.more()
        return data

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        """Take in data from the socket; ask for a pause if too much waits, or in too many pieces."""
        if data:
            self._size += len(data)
            self._buffer.append(data)
            waiter = self._waiter
            if waiter is not None:
                self._waiter = None
                if not waiter.done():
                    waiter.set_result(None)
            if self._size > self._high_water or len(self._buffer) > self._high_water_chunks:
                self._protocol.pause_reading()
        return False

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Note what broke the connection, and wake the reader."""
        waiter, self._waiter = self._waiter, None
        super().set_exception(exc)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def begin_http_chunk_receiving(self) -> None:
        """Do nothing: an HTTP chunk's bounds mean nothing here."""

    def end_http_chunk_receiving(self) -> None:
        """Do nothing."""


class NoBody:
    """The reader of an answer without a body: it is at its end."""

    waits = False

    def take(self) -> bytes:
        """Return b"": the end."""
        return b""

    def more(self) -> Awaitable[None]:
        """Never called: there is nothing to wait for."""
        raise NotImplementedError
