"""The provider of the benchmarks: a raw protocol that answers as fast as a loop can, or in ticks.

It must be faster than any client measured against it: a slow one hides what the client costs in bursts,
when many answers come at once and the garbage collector walks over all that are open.

A request whose body asks for a stream gets one event per tick, streams in groups that are spread over the
tick; tick 0 is as fast as the reader takes them.  `delay_s` makes answers wait a random time up to it.  `GET /stats` tells what is open.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from typing import cast

from benchmarks.payloads import EVENT, STREAM_END, STREAM_HEAD, TEXT_EVENTS, WHOLE_ANSWER

_GROUPS = 16


class Upstream:
    """All that is open, and the pump that feeds the streams."""

    def __init__(self, tick_s: float, delay_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._slot_s = tick_s / _GROUPS
        self.delay_s = delay_s
        self.connections = 0
        self.waiting = 0  # requests whose answer waits for its delay
        self.served = 0
        self._groups: list[dict[Connection, int]] = [  # with the events that are still to come
            {} for _ in range(_GROUPS if tick_s else 1)
        ]
        self._begun = self._turn = 0
        self._due: float | None = None  # when the next tick is; None while nothing is open

    def stats(self) -> bytes:
        """Return what is open, as an HTTP answer."""
        body = json.dumps(
            {
                "connections": self.connections,
                "streams": sum(map(len, self._groups)),
                "waiting": self.waiting,
                "served": self.served,
            }
        ).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    def begin(self, connection: Connection) -> None:
        """Begin a stream: its head and first event at once."""
        connection.transport.write(STREAM_HEAD + EVENT)
        self._begun += 1
        self._groups[self._begun % len(self._groups)][connection] = TEXT_EVENTS - 1
        if self._due is None:
            self._wait(self._loop.time() + self._slot_s)

    def forget(self, connection: Connection) -> None:
        """Its client has left."""
        for group in self._groups:
            group.pop(connection, None)

    def _wait(self, due: float) -> None:
        self._due = due
        if self._slot_s:
            self._loop.call_at(due, self._pump)
        else:
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._turn += 1
        group = self._groups[self._turn % len(self._groups)]
        for connection, left in tuple(group.items()):
            if connection.full:
                continue
            if left:
                connection.transport.write(EVENT)
                group[connection] = left - 1
            else:
                del group[connection]
                connection.transport.write(STREAM_END)
        if any(self._groups):
            self._wait(max(self._loop.time(), (self._due or 0.0) + self._slot_s))
        else:
            self._due = None


class Connection(asyncio.Protocol):
    """One client's connection; it may pipeline nothing."""

    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._buffer = b""
        self._later: asyncio.TimerHandle | None = None
        self.full = False  # the client does not read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        self._upstream.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.connections -= 1
        self._upstream.forget(self)
        if self._later is not None:
            self._later.cancel()
            self._later = None
            self._upstream.waiting -= 1

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end >= 0 and len(buffer) - end - 4 >= _length(buffer, end):
            self._buffer = b""
            self._answer(buffer, end)
        else:
            self._buffer = buffer

    def _answer(self, request: bytes, end: int) -> None:
        upstream = self._upstream
        if request.startswith(b"GET /stats"):
            self.transport.write(upstream.stats())
            return
        upstream.served += 1
        stream = request.find(b'"stream":true', end) >= 0 or request.find(b'"stream": true', end) >= 0
        if upstream.delay_s:
            upstream.waiting += 1
            self._later = asyncio.get_running_loop().call_later(
                random.uniform(0, upstream.delay_s), self._answer_late, stream
            )
        elif stream:
            upstream.begin(self)
        else:
            self.transport.write(WHOLE_ANSWER)

    def _answer_late(self, stream: bool) -> None:  # noqa: FBT001 - a callback of the loop
        self._later = None
        self._upstream.waiting -= 1
        if stream:
            self._upstream.begin(self)
        else:
            self.transport.write(WHOLE_ANSWER)


def _length(buffer: bytes, end: int) -> int:
    """Return the body's length; the header's name is found in the forms that clients write."""
    for name in (b"ontent-Length: ", b"ontent-length: "):
        start = buffer.find(name, 0, end)
        if start >= 0:
            start += len(name)
            return int(buffer[start : buffer.index(b"\r", start)])
    return 0


async def serve(port: int, tick_s: float, delay_s: float) -> None:
    """Serve for ever."""
    upstream = Upstream(tick_s, delay_s)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(upstream), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tick-ms", type=float, default=0.0)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    given = parser.parse_args()
    import uvloop  # noqa: PLC0415 - not on Windows

    uvloop.run(serve(given.port, given.tick_ms / 1000, given.delay_ms / 1000))


if __name__ == "__main__":
    main()
