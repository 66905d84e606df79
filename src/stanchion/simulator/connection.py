"""One HTTP/1.1 connection: bytes to requests, one exchange at a time, in order (pipelining is safe).

Works on the transport itself, because faults need what servers hide: a reset before the headers, the end in
mid-chunk, silence. Knows nothing of OpenAI.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from stanchion.simulator.errors import status_error
from stanchion.simulator.exchange import Exchange, Request

_MAX_HEADER_BYTES = 64 * 1024
_MAX_WAITING = 64  # pipelined requests kept; beyond it the connection is not read

Serve = Callable[[Exchange], None]
BodyMost = Callable[[bytes], int]  # the bytes a body to this target may have


class Connection(asyncio.Protocol):
    """Reads requests and hands each to `serve` when those before it are answered."""

    def __init__(self, serve: Serve, connections: set[Connection], most: BodyMost) -> None:
        self._serve = serve
        self._connections = connections
        self._most = most
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._running = False
        self.current: Exchange | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._refused = False
        self._reading = True
        self._start()

    def _start(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._waiting.clear()
        if self.current is not None:
            self.current.client_left()
            self.current = None

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400)
        except httptools.HttpParserError:
            if not self._refused:
                self._refuse(400)

    def pause_writing(self) -> None:
        if self.current is not None:
            self.current.pause()

    def resume_writing(self) -> None:
        if self.current is not None:
            self.current.resume()

    # httptools calls these
    def on_message_begin(self) -> None:
        self._start()

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        self._count_header(len(name) + len(value))

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._most(self._target):
            self._refuse(413)
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        path, _, query = self._target.decode("latin-1").partition("?")
        self._waiting.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                path=path,
                query=query,
                headers=self._headers,
                body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
                chunked=self._parser.get_http_version() == "1.1",
                keep_alive=self._parser.should_keep_alive(),
            )
        )
        if len(self._waiting) > _MAX_WAITING and self._reading:
            self._reading = False
            self.transport.pause_reading()
        self._next()

    def finished(self, *, close: bool) -> None:
        """The current exchange is over; the next may begin."""
        self.current = None
        if close:
            self._waiting.clear()
            self.transport.close()
            return
        self._next()

    def _next(self) -> None:
        """Serve what waits; a loop rather than recursion, however many requests were pipelined."""
        if self._running:
            return
        self._running = True
        try:
            while self._waiting and self.current is None and not self.transport.is_closing():
                self.current = Exchange(self, self._waiting.popleft())
                self._serve(self.current)
        finally:
            self._running = False
        if not self._reading and len(self._waiting) <= _MAX_WAITING // 2:
            self._reading = True
            self.transport.resume_reading()

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER_BYTES and not self._refused:
            self._refuse(431)

    def _refuse(self, status: int) -> None:
        """Answer an unreadable request and close."""
        self._refused = True
        if self.current is None:
            body = status_error(status).body
            head = (
                f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()
