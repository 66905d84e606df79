"""The process that asks Redis.  Takes orders as `library_worker` does.

{"do": "ping"}: microseconds of a PING.  {"do": "call"}: microseconds that a call's quota on Redis adds to one
in memory.  {"do": "stats"}: questions to Redis per call.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import redis.asyncio as redis
import uvloop

from benchmarks.line_worker import answer, call_of
from stanchion.core.clock import Clock
from stanchion.observe.metrics import Metrics
from stanchion.policies.rate_limit import RateLimit, RateLimitOptions, SharedLimits
from stanchion.stores.opening import open_limits
from stanchion.stores.protocols import Change

_CALLS = 2_000


class Asker:
    """One filter on Redis and one in memory."""

    def __init__(self, port: int) -> None:
        self._clock = Clock()
        self._limits = open_limits(f"redis://127.0.0.1:{port}/0", self._clock)
        self._redis = redis.Redis(port=port)
        shared = SharedLimits(self._limits, self._later, lambda slot, holder: None)
        options, metrics = RateLimitOptions(), Metrics()
        self._together = RateLimit("bench/together", options, metrics, self._clock, shared=shared)
        self._alone = RateLimit("bench/alone", options, metrics, self._clock)
        self._changes: list[Change] = []
        self._told = self._called = 0

    def _later(self, changes: Sequence[Change]) -> None:
        self._changes.extend(changes)

    async def tell(self) -> None:
        """Pass the news on, as the engine does in the background."""
        while self._changes:
            now, self._changes = self._changes[:200], self._changes[200:]
            await self._limits.change(now, (), "")
            self._told += 1

    async def ping(self) -> float:
        began = time.perf_counter()
        for _ in range(_CALLS):
            await self._redis.ping()
        return (time.perf_counter() - began) / _CALLS * 1e6

    async def call(self) -> float:
        return await self._each(self._together) - await self._each(self._alone)

    async def _each(self, limit: RateLimit) -> float:
        call, waited = call_of(0), 0.0
        for number in range(_CALLS):
            began = time.perf_counter()
            reply = await limit(call, answer)
            waited += time.perf_counter() - began
            await reply.read_whole()
            if number % 100 == 0:
                await self.tell()
        await self.tell()
        self._called += _CALLS * (limit is self._together)
        return waited / _CALLS * 1e6

    async def stats(self) -> dict[str, float]:
        scripts = (await self._redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        return {"takes": (scripts - self._told) / self._called, "changes": self._told / self._called}


async def serve(port: int) -> None:
    asker = Asker(port)
    while order := await asyncio.to_thread(sys.stdin.readline):
        do = json.loads(order)["do"]
        found = await asker.stats() if do == "stats" else {"figure": await getattr(asker, do)()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
