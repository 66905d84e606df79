"""Callers' limits, a budget and the provider's quota, all kept in Redis: a call waits for it once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from stanchion.core.call import Body, Call, Operation, json_call
from stanchion.core.caller import Level, Standing
from stanchion.core.clock import Clock
from stanchion.core.errors import BudgetExceeded, LimitReached
from stanchion.engine.config import load
from stanchion.engine.engine import Engine
from stanchion.rules.caller_limits import read_limits
from stanchion.rules.windows import window_of
from stanchion.simulator import Limits, Simulator, SimulatorOptions
from stanchion.stores.opening import open_together
from stanchion.stores.protocols import Take
from stanchion.stores.redis.admission import ADMIT
from tests.contract.servers import RedisServer, at_hand

pytestmark = pytest.mark.anyio
CALLS = 20
SETTINGS = """
[providers.sim]
base_url = "{url}"
auth = "none"
models = []
[stores]
limits = "{limits}"
budgets = "{budgets}"
[prices.gpt-4o]
input = 1.0
output = 2.0
[budgets.all]
dollars = {dollars}
"""
STANDING = Standing(
    levels=(
        Level("key a", read_limits(["requests=1000/minute", "tokens=1000000/minute"])),
        Level("team b", read_limits(["requests=100000/day", "open=50"])),
    ),
    caller="a",
)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with at_hand(RedisServer) as server:
        yield server


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorOptions(limits=Limits(rpm=10_000, tpm=10_000_000))) as running:
        yield running


@asynccontextmanager
async def engine_on(
    folder: Path, sim: Simulator, limits: str, budgets: str, dollars: float = 10.0
) -> AsyncGenerator[Engine, None]:
    file = folder / "stanchion.toml"
    file.write_text(SETTINGS.format(url=sim.base_url, limits=limits, budgets=budgets, dollars=dollars))
    async with Engine(load(file, environ={})) as engine:
        yield engine


def window() -> str:
    return window_of("month", time.time(), ZoneInfo("UTC")).id


def call(standing: Standing = STANDING) -> Call:
    fields = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    return json_call(Operation.CHAT, Body(fields), options={Standing: standing})


async def ask(engine: Engine, asked: Call | None = None) -> None:
    async with await engine(asked or call()) as reply:
        await reply.read_whole()


async def ask_for_ever(engine: Engine) -> None:
    while True:
        await ask(engine)


@asynccontextmanager
async def watched(redis: RedisServer) -> AsyncGenerator[list[str], None]:
    """Collect what Redis is asked for with the script that calls wait for."""
    found = list[str]()
    reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    yield found
    redis.say(b"PING the-end\r\n")
    while "the-end" not in (line := (await reader.readline()).decode()):
        if ADMIT.digest in line and " lua]" not in line:
            found.append(line)
    writer.close()
    await writer.wait_closed()


async def test_a_call_waits_for_one_round_trip_in_all(
    tmp_path: Path, sim: Simulator, redis: RedisServer
) -> None:
    async with engine_on(tmp_path, sim, redis.url, redis.url) as engine:
        for _ in range(3):  # until the provider's limits are known
            await ask(engine)
        async with watched(redis) as asked:
            for _ in range(CALLS):
                await ask(engine)
    assert len(asked) == CALLS
    for line in asked:
        for of in ("caller key a requests/60", "caller team b open", "sim/gpt-4o", "purse:all "):
            assert of in line


async def test_budgets_in_another_store_are_asked_there(
    tmp_path: Path, sim: Simulator, redis: RedisServer
) -> None:
    async with engine_on(tmp_path, sim, redis.url, f"sqlite://{tmp_path}/money.db") as engine:
        for _ in range(3):
            await ask(engine)
        async with watched(redis) as asked:
            for _ in range(CALLS):
                await ask(engine)
    assert len(asked) == CALLS
    assert not any("purse:" in line for line in asked)


async def test_who_has_used_a_limit_or_a_budget_is_told_so_and_takes_nothing(
    tmp_path: Path, sim: Simulator, redis: RedisServer
) -> None:
    two = Standing(levels=(Level("key two", read_limits(["requests=2/minute"])),), caller="two")
    async with engine_on(tmp_path, sim, redis.url, redis.url, dollars=0.0001) as engine:
        await ask(engine, call(two))
        await ask(engine, call(two))
        with pytest.raises(LimitReached, match="key two has used its limit of 2 requests a minute"):
            await ask(engine, call(two))
        assert len(sim.calls) == 2
        with pytest.raises(BudgetExceeded, match="'all'"):
            await ask_for_ever(engine)
        sent = len(sim.calls)
        assert sent < 20
    store = open_together(redis.url, Clock())  # what was refused is in none of them
    taken = await store.limits.take([Take("caller key a requests/60", 0.0, 60.0)], (), "look")
    assert round(taken.booked_s[0] / 0.06) == sent - 2
    assert [each.held for each in await store.budgets.spent(["all " + window()])] == [0]
    await store.limits.aclose()
    await store.budgets.aclose()


async def test_many_at_once_stay_within_all_of_them(
    tmp_path: Path, sim: Simulator, redis: RedisServer
) -> None:
    thirty = Standing(levels=(Level("key thirty", read_limits(["requests=30/hour", "open=10"])),), caller="x")
    answered = refused = 0

    async def one(engine: Engine) -> None:
        nonlocal answered, refused
        try:
            await ask(engine, call(thirty))
            answered += 1
        except LimitReached:
            refused += 1

    async with engine_on(tmp_path, sim, redis.url, redis.url) as engine:
        while refused < 5 or answered < 30:
            async with asyncio.TaskGroup() as group:
                for _ in range(12):
                    group.create_task(one(engine))
    assert answered == 30
