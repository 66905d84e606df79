"""The body of a request, piece by piece, with a bound for each wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from stanchion.core.clock import Clock
from stanchion.core.errors import InvalidCall

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
_SMALL_BYTES = 64 * 1024
_DRAINED_MOST = 1024 * 1024 * 1024  # bytes of a refused upload that are still read


class ClientLeft(Exception):
    """The client went away."""


class RequestBody:
    """One body.  `more` says whether something is left to read."""

    def __init__(self, receive: Receive, clock: Clock, wait_s: float) -> None:
        self.more = True
        self._receive = receive
        self._clock = clock
        self._wait_s = wait_s

    async def piece(self) -> bytes:
        """Return the next piece.  Raises InvalidCall (408) and ClientLeft."""
        try:
            with self._clock.timeout_at(self._clock.now() + self._wait_s):
                message = await self._receive()
        except TimeoutError:
            self.more = False
            raise InvalidCall(
                f"the request body did not come within {self._wait_s:g} s", status=408, code="body_timeout"
            ) from None
        if message["type"] != "http.request":
            self.more = False
            raise ClientLeft
        self.more = bool(message.get("more_body", False))
        return message.get("body", b"")

    async def small(self) -> bytes:
        """Return all of a body that is not meant to be long.  Raises InvalidCall (413) too."""
        body = bytearray()
        while self.more:
            body += await self.piece()
            if len(body) > _SMALL_BYTES:
                raise InvalidCall(f"the body is longer than {_SMALL_BYTES} bytes", status=413)
        return bytes(body)

    async def drain(self) -> None:
        """Read what is left: a client that is refused while it still sends sees a broken connection instead."""
        size = 0
        while self.more and size < _DRAINED_MOST:
            size += len(await self.piece())
