"""The process that cancels: calls of the client library, each ended at a random moment.

Takes orders as `library_worker` does: {"calls": 5000} makes that many and answers with what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import sys
from typing import Any

from benchmarks.machine import resident_kib
from benchmarks.payloads import KEY, MESSAGES, MODEL, PARAMS
from stanchion import AsyncClient, StanchionError

_IN_FLIGHT = 100
_SETTLE_S = 0.5


class Calls:
    """Calls that are cancelled, and how they ended."""

    def __init__(self, client: AsyncClient, longest_s: float) -> None:
        self._client = client
        self._longest_s = longest_s
        self.left = 0
        self.completed = self.cancelled = self.failed = 0

    async def caller(self) -> None:
        """Make calls until none is left to make."""
        while self.left > 0:
            self.left -= 1
            job = self._stream if random.random() < 0.5 else self._whole
            try:
                async with asyncio.timeout(random.uniform(0, self._longest_s)):
                    await job()
                self.completed += 1
            except TimeoutError:
                self.cancelled += 1
            except StanchionError:
                self.failed += 1

    async def _whole(self) -> None:
        await self._client.chat(MESSAGES, model=MODEL, **PARAMS)

    async def _stream(self) -> None:
        async with self._client.stream(MESSAGES, model=MODEL, **PARAMS) as deltas:
            async for delta in deltas:
                assert delta.text is not None


def sockets() -> int:
    """Count the open sockets of this process, where the system tells."""
    count = 0
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


async def look(client: AsyncClient, calls: Calls) -> dict[str, Any]:
    """Return what is open, after a moment."""
    await asyncio.sleep(_SETTLE_S)
    gc.collect()
    engine = await client.engine()
    connector: Any = engine._http._session.connector
    endpoints = [stack for stack, _ in engine._catalog.endpoints(f"openai/{MODEL}")]
    return {
        "completed": calls.completed,
        "cancelled": calls.cancelled,
        "failed": calls.failed,
        "busy_connections": len(connector._acquired),
        "idle_connections": engine.open_connections - len(connector._acquired),
        "calls_open": engine.metrics.calls_open.of().value,
        "in_flight": sum(endpoint.in_flight for endpoint in endpoints),
        "alarms": len(engine.clock._alarms),
        "tasks": len(asyncio.all_tasks()),
        "sockets": sockets(),
        "resident_kib": resident_kib(os.getpid()),
    }


async def obey(base_url: str, longest_s: float) -> None:
    """Take orders until stdin ends."""
    client = AsyncClient(api_key=KEY, base_url=base_url)
    calls = Calls(client, longest_s)
    await client.chat(MESSAGES, model=MODEL, **PARAMS)
    for line in iter(sys.stdin.readline, ""):
        calls.left = json.loads(line)["calls"]
        async with asyncio.TaskGroup() as group:
            for _ in range(_IN_FLIGHT if calls.left else 0):
                group.create_task(calls.caller())
        print(json.dumps(await look(client, calls)), flush=True)
    await client.aclose()


def main() -> None:
    import uvloop  # noqa: PLC0415 - not on Windows

    uvloop.run(obey(sys.argv[1], float(sys.argv[2])))


if __name__ == "__main__":
    main()
