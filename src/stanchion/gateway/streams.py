"""Write a streamed reply to a client: heartbeats in silence, an honest end when it fails.

A failure after the first byte is said in an error event, and then the connection is broken off without
a proper end, so that no client can take what came for the whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from stanchion.core.call import Call
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.errors import StanchionError, Unavailable
from stanchion.core.reply import Reply
from stanchion.gateway.errors import StreamAborted, error_events, internal_error
from stanchion.wire import sse

Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
_FLUSH_S = 0.02  # seconds: the server drops what it has not written yet when an answer is broken off
log = logging.getLogger(__name__)


class Stream:
    """One open stream to a client."""

    __slots__ = (
        "_clock",
        "_number",
        "_numbered",
        "_pinging",
        "_send",
        "_waiting_headers",
        "call",
        "last_at",
        "started",
    )

    def __init__(
        self, call: Call, send: Send, waiting_headers: Callable[[Call], list[Header]], clock: Clock
    ) -> None:
        self.call = call  # without its body
        self._clock = clock
        self._send = send
        self._waiting_headers = waiting_headers
        self._numbered = call.idempotency_key is not None  # ids, so that the client can come back
        self._number = 0
        self._pinging = False
        self.started = False
        self.last_at = self._clock.now()

    async def start(self, headers: list[Header]) -> None:
        """Send the head, once."""
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write_all(self, reply: Reply, skip: int) -> None:
        """Write the reply to its end, without its first `skip` events."""
        now, send, numbered = self._clock.now, self._send, self._numbered
        async for chunk in reply:
            raw = self._numbered_events(chunk, skip) if numbered else chunk.raw
            self.last_at = now()
            if raw:
                await send({"type": "http.response.body", "body": raw, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def fail(self, error: StanchionError) -> None:
        """Say the error in the stream and break the connection off.  Raises StreamAborted."""
        body = error_events(error, self.call.operation)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        try:
            await asyncio.sleep(_FLUSH_S)
        finally:
            raise StreamAborted

    async def ping(self) -> None:
        """Send a comment.  The SDK survives it; with ids it must not end an event, so one line end."""
        if self._pinging:
            return  # the client does not read: one waiting ping is enough
        self._pinging = True
        try:
            await self.start(self._waiting_headers(self.call))
            comment = b": ping\n" if self._numbered else b": ping\n\n"
            await self._send({"type": "http.response.body", "body": comment, "more_body": True})
            self.last_at = self._clock.now()
        finally:
            self._pinging = False

    def _numbered_events(self, chunk: Chunk, skip: int) -> bytes:
        parts: list[bytes] = []
        for event in sse.split(chunk.raw):
            self._number += 1
            if self._number > skip:
                parts.append(b"id: %d\n%b\n\n" % (self._number, event))
        return b"".join(parts)


class Heartbeats:
    """Pings the streams that were silent too long.  One task for all of them."""

    def __init__(
        self, every_s: float, spawn: Callable[[Coroutine[object, object, None]], object], clock: Clock
    ) -> None:
        self._every_s = every_s
        self._clock = clock
        self._spawn = spawn
        self.streams: set[Stream] = set()

    async def run(self) -> None:
        """Look around, for ever."""
        now = self._clock.now
        while self._every_s > 0:
            await asyncio.sleep(min(1.0, self._every_s / 4))
            silent_since = now() - self._every_s
            for stream in tuple(self.streams):
                if stream.last_at <= silent_since:
                    stream.last_at = now()
                    self._spawn(stream.ping())


def as_said(error: BaseException) -> StanchionError:
    """Return what may be said to the client of any error."""
    if isinstance(error, StanchionError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Unavailable("the gateway is shutting down", code="shutting_down", retry_after_s=1.0)
    log.error("gateway.failed", exc_info=error)
    return internal_error()
