"""A straggler of one key is overtaken on another: the answer comes, the loser is cut at the provider, both are booked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from stanchion.simulator import SimulatorOptions, Timing
from stanchion.stores.ledger import Asked, Used
from stanchion.stores.opening import open_ledger
from tests.acceptance.stage import ASKED, KEY, Gateway, Provider, settled

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
_OTHER = "sk-canary-0b6e77c2915d4f83"
_LEARN = 60  # calls before anything goes wrong; one in twenty of them is late too, by definition
_SETTINGS = """
[providers.sim]
base_url = "{url}"
key_env = ["CANARY_KEY", "OTHER_KEY"]
models = ["*"]
[hedge]
on = true
least_samples = 20
extra_most = {share}
[coalesce]
on = false
"""


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def sim() -> Iterator[Provider]:
    with Provider(SimulatorOptions(timing=Timing(ttft_s=0.02, ttft_sigma=0.01))) as running:
        yield running


@pytest.fixture
def share() -> float:
    return 0.2


@pytest.fixture
def gateway(tmp_path: Path, sim: Provider, share: float) -> Iterator[Gateway]:
    settings = _SETTINGS.format(url=sim.base_url, share=share)
    with Gateway(tmp_path, settings, environ={"OTHER_KEY": _OTHER}) as running:
        yield running


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key="caller", max_retries=0) as running:
        for _ in range(_LEARN):
            await ask(running)
        yield running


async def ask(client: openai.AsyncOpenAI) -> str:
    stream = await client.chat.completions.create(model="gpt-4o", messages=ASKED, max_tokens=8, stream=True)
    async with stream:
        parts = [each.choices[0].delta.content or "" async for each in stream if each.choices]
    return "".join(parts)


def hedges(gateway: Gateway, outcome: str) -> float:
    return gateway.metric("stanchion_hedges_total", outcome=outcome)


def events(gateway: Gateway, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.log.split("\n")[:-1] if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


async def booked(file: Path) -> dict[str, Used]:
    store = open_ledger(f"sqlite://{file}")
    try:
        return {row.key[0]: row for row in await store.used(Asked(by=("endpoint",)))}
    finally:
        await store.aclose()


async def test_a_straggler_is_overtaken_cut_and_booked(
    gateway: Gateway, client: openai.AsyncOpenAI, sim: Provider, tmp_path: Path
) -> None:
    usual, won = await ask(client), hedges(gateway, "won")
    arrived = len(sim.calls)
    sim.plan("slow:60")
    assert await ask(client) == usual
    await settled(lambda: sim.running == 0, 10.0)
    late, answered = sim.calls
    assert (late.fault, late.completed, late.client_left_at is not None) == ("slow:60", False, True)
    assert (answered.completed, answered.client_left_at) == (True, None)
    assert len({late.key_fingerprint, answered.key_fingerprint}) == 2  # another key
    assert hedges(gateway, "won") == won + 1
    await settled(lambda: len(events(gateway, "call.ended")) == _LEARN + 2, 10.0)
    last, ended = events(gateway, "call.ended")[-1], events(gateway, "hedge.ended")[-1]
    assert (last["hedged"], last["attempts"], last["outcome"]) == ("won", 2, "completed")
    assert (last["endpoint"], last["tokens_estimated"]) == (ended["endpoint"], True)
    assert ended["beside"] != ended["endpoint"]
    lines = gateway.metric("stanchion_attempts_total")  # each attempt is one
    # one that lost as it was being sent may never have arrived
    assert arrived + 2 <= lines <= arrived + 2 + hedges(gateway, "lost")
    await settled(lambda: gateway.metric("stanchion_ledger_lines_total", outcome="written") == lines, 10.0)
    rows = await booked(tmp_path / f"state-{gateway.port}" / "stanchion" / "ledger.db")
    assert sum(row.of("calls") for row in rows.values()) == _LEARN + 2
    assert sum(row.of("attempts") for row in rows.values()) == lines
    left = gateway.metric("stanchion_attempts_total", outcome="cancelled")
    assert sum(row.of("estimated") for row in rows.values()) == left
    assert rows[ended["beside"]].of("estimated") > 0
    assert KEY not in gateway.log
    assert _OTHER not in gateway.log


async def test_where_the_second_fails_nobody_notices(
    gateway: Gateway, client: openai.AsyncOpenAI, sim: Provider
) -> None:
    before = hedges(gateway, "failed")
    sim.plan("slow:0.5", "503")
    assert await ask(client)
    first, second = sim.calls
    assert (first.completed, second.status) == (True, 503)
    assert hedges(gateway, "failed") == before + 1
    assert gateway.metric("stanchion_retries_total") == 0


async def test_where_the_first_begins_after_all_the_second_is_cut(
    gateway: Gateway, client: openai.AsyncOpenAI, sim: Provider
) -> None:
    before = hedges(gateway, "lost")
    sim.plan("slow:0.5", "slow:60")
    assert await ask(client)
    first, second = sim.calls
    assert (first.completed, second.completed, second.client_left_at is not None) == (True, False, True)
    assert hedges(gateway, "lost") == before + 1
    await settled(lambda: sim.running == 0, 10.0)


async def test_a_caller_that_leaves_ends_both_at_the_provider(
    gateway: Gateway, client: openai.AsyncOpenAI, sim: Provider
) -> None:
    sim.plan("slow:60,times=2")
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask(client))
        await settled(lambda: len(sim.calls) == 2, 10.0)
        asking.cancel()
    await settled(lambda: sim.running == 0, 10.0)
    assert [call.client_left_at is not None for call in sim.calls] == [True, True]
    await settled(lambda: hedges(gateway, "left") == 1, 10.0)


@pytest.mark.parametrize("share", [0.05])
async def test_a_provider_that_is_slow_throughout_gets_a_twentieth_more_and_no_wave(
    gateway: Gateway, client: openai.AsyncOpenAI, sim: Provider
) -> None:
    calls, before = 200, len(sim.calls) - _LEARN
    sim.plan("slow:0.2,rate=0.3")
    async with asyncio.TaskGroup() as group:
        for _ in range(calls):
            group.create_task(ask(client))
    extra = before + len(sim.calls) - calls
    assert 3 <= extra <= 0.05 * (_LEARN + calls)
    assert gateway.metric("stanchion_hedges_refused_total", reason="share_spent") > 0
