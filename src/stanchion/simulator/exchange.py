"""One request and the sending of its reply: whole, in events, or broken on purpose."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from stanchion.simulator.faults import End
from stanchion.simulator.log import CallRecord

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_LINGER_ZERO = struct.pack("ii", 1, 0)

Headers = Iterable[tuple[str, str]]


@dataclass(slots=True)
class Request:
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    chunked: bool
    keep_alive: bool

    def header(self, name: str) -> str:
        """A header's value, empty if it is missing."""
        return self.headers.get(name, "")


class Sender(Protocol):
    """Something that goes on sending and must know when to pause or stop."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self) -> None: ...


class Line(Protocol):
    """The connection a reply is written to."""

    @property
    def transport(self) -> asyncio.Transport: ...

    def finished(self, *, close: bool) -> None: ...


class Exchange:
    """The one place that writes a reply. After `end`, `leave` or `client_left` nothing is written any more."""

    __slots__ = ("_connection", "_keep_alive", "_over", "record", "request", "sender")

    def __init__(self, connection: Line, request: Request) -> None:
        self._connection = connection
        self._keep_alive = request.keep_alive
        self._over = False
        self.request = request
        self.record: CallRecord | None = None
        self.sender: Sender | None = None

    @property
    def over(self) -> bool:
        """Whether the reply has ended or the client has left."""
        return self._over

    def whole(
        self, status: int, headers: Headers, body: bytes, content_type: str = "application/json"
    ) -> None:
        """Send a complete reply."""
        self.opening(status, headers, body, length=len(body), content_type=content_type)
        self.end()

    def opening(
        self,
        status: int,
        headers: Headers,
        body: bytes,
        *,
        length: int,
        content_type: str = "application/json",
    ) -> None:
        """Send the head of a whole reply that claims `length`, and so much of its body."""
        head = self._head(status, headers, content_type) + f"content-length: {length}\r\n\r\n"
        if self.record is not None:
            self.record.bytes_sent += len(body)
        sent = b"" if self.request.method == "HEAD" else body
        self._connection.transport.write(head.encode("latin-1") + sent)

    def stream_head(self, headers: Headers, content_type: str = "text/event-stream; charset=utf-8") -> bytes:
        """The head of a stream, to be written with its first bytes."""
        head = self._head(200, headers, content_type) + "cache-control: no-cache\r\nx-accel-buffering: no\r\n"
        if self.request.chunked:
            head += "transfer-encoding: chunked\r\n"
        else:
            self._keep_alive = False
        return (head + "\r\n").encode("latin-1")

    def frame(self, data: bytes, size: int | None = None) -> bytes:
        """One chunk of the body; `size` greater than the data promises bytes that never come."""
        if not self.request.chunked:
            return data
        if size is not None and size > len(data):
            return b"%x\r\n%b" % (size, data)
        return b"%x\r\n%b\r\n" % (len(data), data)

    def write(self, data: bytes) -> None:
        """Write framed bytes."""
        self._connection.transport.write(data)

    def end_stream(self) -> None:
        """End the body so that it looks complete."""
        if self.request.chunked:
            self._connection.transport.write(b"0\r\n\r\n")
        self.end()

    def end(self) -> None:
        """The reply is complete; the connection goes on if both sides want it."""
        self._finish()
        self._connection.finished(close=not self._keep_alive)

    def leave(self, how: End) -> None:
        """Leave the transport in mid-reply: close it, or reset it."""
        self._finish()
        if how == "reset":
            self.reset()
        else:
            self._connection.finished(close=True)

    def reset(self) -> None:
        """Reset the TCP connection; what was written and not yet sent is lost."""
        self._finish()
        transport = self._connection.transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()

    def client_left(self) -> None:
        """The client closed the connection before the reply's end."""
        if self._over:
            return
        if self.record is not None:
            self.record.client_left_at = time.time()
        self._finish()

    def pause(self) -> None:
        """The client reads more slowly than we write."""
        if self.sender is not None:
            self.sender.pause()

    def resume(self) -> None:
        """The client has caught up."""
        if self.sender is not None:
            self.sender.resume()

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        if self.record is not None:
            self.record.ended_at = time.time()
        if self.sender is not None:
            self.sender.stop()
            self.sender = None

    def _head(self, status: int, headers: Headers, content_type: str) -> str:
        if self.record is not None:
            self.record.status = status
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        connection = "" if self._keep_alive else "connection: close\r\n"
        reason = _REASONS.get(status, "Unknown")
        return f"HTTP/1.1 {status} {reason}\r\n{connection}content-type: {content_type}\r\n{lines}"
