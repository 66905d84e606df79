"""A load of whole answers, where wrk is not installed: so many connections, each asks again at once."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import cast

from benchmarks.payloads import KEY, request_body

BODY = request_body(stream=False)
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (KEY.encode(), len(BODY), BODY)
)


class Load:
    """What was counted."""

    def __init__(self) -> None:
        self.counting = False
        self.requests = 0
        self.broken = 0
        self.took_s: list[float] = []


class WholeConnection(asyncio.Protocol):
    """Asks, takes the answer, asks again."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._asked_at = 0.0
        self.left = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.broken += not self.left

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self.transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = buffer
            return
        start = buffer.lower().index(b"content-length: ", 0, end) + 16
        if len(buffer) - end - 4 < int(buffer[start : buffer.index(b"\r", start)]):
            self._buffer = buffer
            return
        self._buffer = b""
        load = self._load
        if load.counting:
            load.requests += 1
            load.took_s.append(time.perf_counter() - self._asked_at)
            load.broken += not buffer.startswith(b"HTTP/1.1 200")
        self._ask()


async def run(port: int, connections: int, seconds: float) -> dict[str, float]:
    """Load a server; return what was counted."""
    loop, load = asyncio.get_running_loop(), Load()
    made: list[WholeConnection] = []
    for _ in range(connections):
        _, connection = await loop.create_connection(lambda: WholeConnection(load), "127.0.0.1", port)
        made.append(connection)
    load.counting, counted_from = True, time.perf_counter()
    await asyncio.sleep(seconds)
    load.counting = False
    took, sorted_s = time.perf_counter() - counted_from, sorted(load.took_s) or [0.0]
    for connection in made:
        connection.left = True
        connection.transport.abort()
    return {
        "per_s": load.requests / took,
        "requests": load.requests,
        "broken": load.broken,
        "p50_ms": sorted_s[len(sorted_s) // 2] * 1000,
        "p99_ms": sorted_s[min(len(sorted_s) - 1, int(len(sorted_s) * 0.99))] * 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    import uvloop  # noqa: PLC0415 - not on Windows

    print(json.dumps(uvloop.run(run(given.port, given.connections, given.seconds))), flush=True)


if __name__ == "__main__":
    main()
