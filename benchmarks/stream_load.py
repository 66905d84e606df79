"""A load of streams: keeps so many open at once for a time, counts events and times to the first one.

A process of its own: `python -m benchmarks.stream_load --port N --streams 1000 --seconds 5` prints JSON.
Starts are spread over the ramp, so that streams do not begin in step; what happens in the ramp and in
the second after it is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import cast

from benchmarks.payloads import KEY, request_body

_SETTLE_S = 1.0
_BODY = request_body(stream=True)
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Accept: text/event-stream\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
    % (KEY.encode(), len(_BODY), _BODY)
)


class Load:
    """What was counted."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time
        self.counting = False
        self.again = True  # whether a stream that ended is followed by another
        self.events = self.reads = self.streams = self.broken = 0
        self.first_s: list[float] = []

    def result(self, seconds: float) -> dict[str, float]:
        """Return the figures of the time that was counted."""
        first = sorted(self.first_s) or [0.0]
        return {
            "seconds": seconds,
            "events_per_s": self.events / seconds,
            "events": self.events,
            "reads": self.reads,
            "streams": self.streams,
            "broken": self.broken,
            "first_p50_ms": first[len(first) // 2] * 1000,
            "first_p99_ms": first[min(len(first) - 1, int(len(first) * 0.99))] * 1000,
        }


class StreamConnection(asyncio.Protocol):
    """One connection that asks for one stream after the other."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self._load = load
        self._tail = b""
        self._asked_at = 0.0
        self._waits = False
        self._counted = False
        self.left = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.left:
            self._load.broken += 1

    def _ask(self) -> None:
        load = self._load
        self._asked_at, self._waits, self._counted = load.now(), True, load.counting
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        load = self._load
        events = data.count(b"data: ")
        if load.counting:
            load.events += events
            load.reads += 1
        if self._waits and events:
            self._waits = False
            if self._counted:
                load.first_s.append(load.now() - self._asked_at)
        if data.endswith(b"0\r\n\r\n") and (len(data) > 5 or self._tail.endswith(b"\r\n")):
            if not data.startswith(b"HTTP/1.1 200", 0, 12) and b"HTTP/1.1 " in data[:9]:
                load.broken += 1
            if load.counting:
                load.streams += 1
            if load.again:
                self._ask()
        self._tail = data[-2:]


async def run(port: int, streams: int, seconds: float, ramp_s: float) -> dict[str, float]:
    """Keep `streams` open; return what was counted."""
    loop, load = asyncio.get_running_loop(), Load()
    started_at = loop.time()
    connections: list[StreamConnection] = []
    for number in range(streams):
        wait_s = started_at + ramp_s * number / streams - loop.time()
        if wait_s > 0.002:
            await asyncio.sleep(wait_s)
        _, connection = await loop.create_connection(lambda: StreamConnection(load), "127.0.0.1", port)
        connections.append(connection)
    await asyncio.sleep(_SETTLE_S)
    sys.stdout.write("counting\n")  # whoever started us reads the clocks of the system under test now
    sys.stdout.flush()
    counted_from = loop.time()
    load.counting = True
    await asyncio.sleep(seconds)
    load.counting = False
    result = load.result(loop.time() - counted_from)
    for connection in connections:
        connection.left = True
        connection.transport.abort()
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--ramp", type=float, default=1.0)
    given = parser.parse_args()
    import uvloop  # noqa: PLC0415 - not on Windows

    print(json.dumps(uvloop.run(run(given.port, given.streams, given.seconds, given.ramp))), flush=True)


if __name__ == "__main__":
    main()
