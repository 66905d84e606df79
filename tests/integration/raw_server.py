"""A server of bytes: it says exactly what a test tells it to, and notes when the other end leaves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Self


class Visit:
    """One request on one connection."""

    def __init__(self, server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self._reader, self._writer = server, reader, writer
        self.head = b""
        self.body = b""

    async def receive(self) -> bool:
        """Read a request; False if none comes any more."""
        try:
            self.head = await self._reader.readuntil(b"\r\n\r\n")
            length = [
                line for line in self.head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            ]
            self.body = await self._reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        return True

    def say(self, *data: bytes) -> None:
        self._writer.write(b"".join(data))

    def say_json(self, body: bytes, *, status: str = "200 OK", headers: bytes = b"") -> None:
        """Answer whole, and keep the connection."""
        self.say(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
            % (status.encode(), headers, len(body)),
            body,
        )

    def begin_stream(self) -> None:
        self.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    def say_chunk(self, data: bytes) -> None:
        self.say(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        self.say(b"0\r\n\r\n")

    @property
    def is_open(self) -> bool:
        return not self._writer.is_closing()

    async def flush(self) -> None:
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Break the connection off; what is not yet sent is lost."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def until_left(self, within_s: float = 5.0) -> float:
        """Wait for the other end to leave; return when it did, on the loop's clock."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(within_s):
                while await self._reader.read(65536):
                    pass
        self.server.left_at.append(asyncio.get_running_loop().time())
        return self.server.left_at[-1]


Answering = Callable[[Visit], Awaitable[None]]


class RawServer:
    """`async with RawServer(answer) as server`: `answer` is called for each request."""

    def __init__(self, answer: Answering, *, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self.connections = 0  # ever
        self.open = 0  # now
        self.requests = 0
        self.left_at: list[float] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        async with asyncio.timeout(5):
            while self._writers:  # noqa: ASYNC110 - connections end in the loop's next turns
                await asyncio.sleep(0)

    @property
    def base_url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            while await (visit := Visit(self, reader, writer)).receive():
                self.requests += 1
                await self._answer(visit)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.CancelledError):
            pass  # the other end left, or the server ends
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.transport.abort() if self._tls else writer.close()
