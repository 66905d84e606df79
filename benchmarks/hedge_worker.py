"""The process that hedges.  Takes orders as `library_worker` does.

{"do": "tail", "base_url": "...", "hedge": true, "calls": 2000}: how long first tokens take, and how many calls were extra.
{"do": "pass"}: CPU that hedging adds to a call that is not late, in process.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from typing import Any

import uvloop

from benchmarks.payloads import EVENT, MESSAGES, MODEL, PARAMS
from stanchion import AsyncClient
from stanchion.core.call import Body, Call, Operation, json_call
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.reply import Head, Reply
from stanchion.core.service import Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.hedge import Hedge, HedgeOptions
from stanchion.policies.trace_attempt import TraceAttempt
from stanchion.wire.answers import read_whole

WARM_UP = 500  # calls in which it is learned what is usual
_TASKS = 10  # a stall of the machine is felt by so many calls at once
_PASSES = 20_000
_KEYS = ("BENCH_KEY_1", "BENCH_KEY_2")


async def tail(base_url: str, calls: int, *, hedge: bool) -> dict[str, float]:
    """Return the median and the 99th percentile of the milliseconds to a first token, and the share of extra calls."""
    os.environ.update({name: f"sk-bench-{name}" for name in _KEYS})
    settings = {
        "providers.bench.base_url": base_url,
        "providers.bench.key_env": list(_KEYS),
        "providers.bench.models": [],
        "hedge.on": hedge,
    }
    took = list[float]()

    async def ask(client: AsyncClient, numbers: Any) -> None:
        for number in numbers:
            before = time.perf_counter()
            async with client.stream(MESSAGES, model=MODEL, **PARAMS) as stream:
                async for _ in stream:
                    if number >= WARM_UP:
                        took.append(time.perf_counter() - before)
                    break
                async for _ in stream:
                    pass

    async with AsyncClient(settings=settings) as client:
        numbers = iter(range(WARM_UP + calls))
        async with asyncio.TaskGroup() as group:
            for _ in range(_TASKS):
                group.create_task(ask(client, numbers))
        attempts = (await client.engine()).metrics.attempts
        made = sum(tally.value for tally in attempts._by_label.values())
    cut = statistics.quantiles(took, n=100)
    return {
        "p50_ms": cut[49] * 1000,
        "p99_ms": cut[98] * 1000,
        "extra": 100 * (made / (WARM_UP + calls) - 1),
    }


async def passes() -> dict[str, float]:
    """Return the CPU microseconds that hedging adds to a call whose answer is there at once."""
    clock, metrics = Clock(), Metrics()
    traced = stack(TraceAttempt("bench/m", "m", metrics, clock), service=_answer)
    tasks = list[asyncio.Task[None]]()
    async with asyncio.TaskGroup() as group:

        def spawn(job: Any) -> asyncio.Task[None]:
            tasks.append(group.create_task(job))
            return tasks[-1]

        options = HedgeOptions(on=True)
        hedged = stack(Hedge(options, lambda *_: None, spawn, clock, metrics), service=traced)
        call = json_call(
            Operation.CHAT,
            Body.read(json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True}).encode()),
        )
        rounds = [await _timed(hedged, call) - await _timed(traced, call) for _ in range(5)]
    return {"cpu_us": statistics.median(rounds)}


async def _answer(call: Call, /) -> Reply:
    return Reply.whole(_HEAD, Chunk(EVENT, read_whole(call.operation)))


async def _timed(service: Service, call: Call) -> float:
    before = time.process_time()
    for _ in range(_PASSES):
        call.trail.attempts.clear()
        async with await service(call) as reply:
            await reply.read_whole()
    return (time.process_time() - before) / _PASSES * 1e6


_HEAD = Head(endpoint="bench/m", model="m")


async def done(order: dict[str, Any]) -> dict[str, float]:
    """Do an order; return its figures."""
    if order["do"] == "pass":
        return await passes()
    return await tail(order["base_url"], order["calls"], hedge=order["hedge"])


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(uvloop.run(done(json.loads(line)))), flush=True)
