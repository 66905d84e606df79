"""The process that waits in line.  Takes orders as `library_worker` does.

{"do": "admit", "waiting": 100}: CPU per call that gets its turn, while so many wait, in process.
{"do": "pass"}: CPU of the balancer and the quota of a call that need not wait, in process.
{"do": "flood", "callers": 8, "flood": 800, "seconds": 8}: how long others wait, over real sockets.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from benchmarks.payloads import MESSAGES, MODEL, PARAMS
from stanchion import AsyncClient
from stanchion.core.call import Body, Call, Operation, json_call
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.reply import Head, Reply
from stanchion.core.service import Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance import Balance, BalanceOptions, LineOptions, Room
from stanchion.policies.places import Places
from stanchion.policies.rate_limit import RateLimit, RateLimitOptions
from stanchion.wire.answers import read_whole

_ADMISSIONS = 30_000
_CALLERS = 50
_PASSES = 20_000
_PLACES = 2  # calls that the provider of the flood may have open
_ROOM = LineOptions(
    waiting_most=50_000, caller_waiting_most=50_000, interactive_wait_most_s=10_000.0, bytes_most=2**40
)
_HEAD = Head(
    headers={
        "x-ratelimit-limit-requests": "1000000",
        "x-ratelimit-remaining-requests": "999999",
        "x-ratelimit-reset-requests": "1ms",
        "x-ratelimit-limit-tokens": "100000000",
        "x-ratelimit-remaining-tokens": "99999900",
        "x-ratelimit-reset-tokens": "1ms",
    }
)
_ANSWER = json.dumps({"choices": [{"message": {"content": "x" * 500}, "finish_reason": "stop"}]}).encode()


async def answer(call: Call) -> Reply:
    """Answer at once."""
    return Reply.whole(_HEAD, Chunk(_ANSWER, read_whole(call.operation)))


async def late_answer(call: Call) -> Reply:
    """Answer in the loop's next turn."""
    await asyncio.sleep(0)
    return await answer(call)


class InProcess:
    """An endpoint with a quota that is never used up, or with places, and no network."""

    name, key, in_flight, last_failure = "bench/m", "bench", 0, ""

    def __init__(self, clock: Clock, *, places: int, service: Service = answer) -> None:
        self._places = Places(places)
        self._limit = None if places else RateLimit(self.name, RateLimitOptions(), Metrics(), clock)
        filters = [each for each in (self._places, self._limit) if each is not None]
        self._service = stack(*filters, service=service)

    def ready_in(self, now: float, call: Call | None = None) -> float:
        """Say in how many seconds it is ready."""
        limit_s = self._limit.ready_in(now, call) if self._limit is not None else 0.0
        return max(self._places.ready_in(), limit_s)

    def fill(self) -> float:
        """Say how full it is."""
        return self._limit.fill() if self._limit is not None else 0.0

    def watch(self, wake: Callable[[], None]) -> None:
        """Wake who waits."""
        self._places.watch(wake)

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Answer."""
        return self._service(call)


def balancer(endpoint: InProcess, clock: Clock) -> Balance:
    room = Room(Metrics(), clock)
    room.configure(_ROOM)
    return Balance(lambda _: [(endpoint, 1.0)], BalanceOptions(), clock, room=room)


def call_of(number: int) -> Call:
    body = Body.read(json.dumps({"model": MODEL, "messages": MESSAGES, **PARAMS}).encode())
    return json_call(Operation.CHAT, body, caller=f"caller {number % _CALLERS}")


async def admit(waiting: int) -> float:
    """Return the CPU microseconds of a call that waits among so many, from its coming to its end."""
    clock = Clock()
    service = balancer(InProcess(clock, places=1, service=late_answer), clock)
    left = waiting + _ADMISSIONS
    all_wait, over = asyncio.Event(), asyncio.Event()

    async def ask(number: int) -> None:
        nonlocal left
        call = call_of(number)
        while left > 0:
            left -= 1
            if left == _ADMISSIONS:
                all_wait.set()
            async with await service(call) as reply:
                await reply.read_whole()
        over.set()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(number)) for number in range(waiting)]
        await all_wait.wait()
        gc.collect()
        before, began = time.process_time(), left
        await over.wait()
        spent = time.process_time() - before
        for task in tasks:
            task.cancel()
    return spent / began * 1e6


async def passes() -> float:
    """Return the CPU microseconds that the balancer and the quota add to a call."""
    clock = Clock()
    call = call_of(0)
    service = balancer(InProcess(clock, places=0), clock)
    rounds = [await timed(service, call) - await timed(answer, call) for _ in range(5)]
    return statistics.median(rounds)


async def timed(service: Service, call: Call) -> float:
    fields, raw = call.body.fields, call.body.raw
    before = time.process_time()
    for _ in range(_PASSES):  # each with a body of its own: what is known of one is not known of the next
        async with await service(call.having(body=Body(fields, raw))) as reply:
            await reply.read_whole()
    return (time.process_time() - before) / _PASSES * 1e6


async def flood(base_url: str, callers: int, others: int, seconds: float) -> float:
    """Return the 99th percentile of the seconds that a call of `callers` takes beside a flood of `others`."""
    os.environ["BENCH_KEY"] = "sk-bench"
    settings = {
        "providers.bench.base_url": base_url,
        "providers.bench.key_env": "BENCH_KEY",
        "providers.bench.models": [],
        "providers.bench.open_most": _PLACES,
        "line.interactive_wait_most_s": 3600.0,
        "line.caller_waiting_most": 100_000,
    }
    took = list[float]()
    ends_at = time.monotonic() + seconds

    async def ask(client: AsyncClient, caller: str, seen: list[float] | None) -> None:
        while time.monotonic() < ends_at:
            before = time.monotonic()
            await client.chat(MESSAGES, model=MODEL, caller=caller, **PARAMS)
            if seen is not None:
                seen.append(time.monotonic() - before)

    async with AsyncClient(settings=settings) as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(client, "flood", None)) for _ in range(others)]
        if others:
            await asyncio.sleep(0.5)
        tasks += [group.create_task(ask(client, f"caller {number}", took)) for number in range(callers)]
        await asyncio.sleep(max(0.0, ends_at - time.monotonic()) + 0.5)
        for task in tasks:
            task.cancel()
    took.sort()
    return took[math.ceil(len(took) * 0.99) - 1]


async def done(order: dict[str, Any]) -> float:
    match order["do"]:
        case "admit":
            return await admit(order["waiting"])
        case "pass":
            return await passes()
        case _:
            return await flood(order["base_url"], order["callers"], order["flood"], order["seconds"])


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps({"figure": uvloop.run(done(json.loads(line)))}), flush=True)
