"""One quota of a provider, kept by two gateways on one Redis, through its loss and return; and by one program."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from stanchion import AsyncClient, StanchionError
from stanchion.simulator import Limits, SimulatorOptions, Timing
from tests.acceptance.served import wait_for
from tests.acceptance.stage import ASKED, KEY, Gateway, Provider, provider, settled
from tests.contract.servers import Missing, RedisServer

_RPM = 240  # four a second, 240 at once
_REFUSED_MOST = 8  # what two learners may meet together

pytestmark = pytest.mark.anyio


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    try:
        server = RedisServer()
    except Missing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def quota() -> Iterator[Provider]:
    options = SimulatorOptions(timing=Timing(ttft_s=0.02), limits=Limits(rpm=_RPM))
    with Provider(options) as running:
        yield running


@pytest.fixture
def twins(tmp_path: Path, redis: RedisServer, quota: Provider) -> Iterator[tuple[Gateway, Gateway]]:
    settings = provider("quota", quota.base_url, 'models = ["*"]') + f'[stores]\nlimits = "{redis.url}"\n'
    with Gateway(tmp_path, settings) as one, Gateway(tmp_path, settings) as two:
        yield one, two


async def keep_asking(gateway: Gateway, tasks: int) -> None:
    """Have always a next call, until cancelled."""

    async def one() -> None:
        while True:
            try:
                await client.chat.completions.create(model="gpt-4o", messages=ASKED, max_tokens=2)
            except openai.APIStatusError:
                await asyncio.sleep(0.5)

    async with (
        openai.AsyncOpenAI(base_url=gateway.base_url, api_key="caller", max_retries=0) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(tasks):
            group.create_task(one())


def let_in(quota: Provider) -> int:
    return sum(call.status == 200 for call in quota.calls)


def refused(quota: Provider) -> int:
    return sum(call.status == 429 for call in quota.calls)


async def test_two_gateways_on_one_redis_fill_one_quota_as_one(
    twins: tuple[Gateway, Gateway], quota: Provider
):
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(keep_asking(gateway, 60)) for gateway in twins]
        await settled(lambda: let_in(quota) >= _RPM + 20, within_s=60)  # beyond its first bucket
        for each in asking:
            each.cancel()
    assert refused(quota) <= _REFUSED_MOST
    shares = [gateway.metric("stanchion_attempts_total", outcome="completed") for gateway in twins]
    assert min(shares) > 0, "both took part"


async def test_a_lost_redis_costs_neither_the_quota_nor_the_calls(
    twins: tuple[Gateway, Gateway], quota: Provider, redis: RedisServer
):
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(keep_asking(gateway, 30)) for gateway in twins]
        await settled(lambda: let_in(quota) >= 60, within_s=30)
        redis.kill()
        before = let_in(quota)
        await settled(lambda: let_in(quota) >= before + 20, within_s=30)  # never all refused
        for gateway in twins:
            await settled(lambda gateway=gateway: "limits.store_lost" in gateway.log, within_s=10)
            assert gateway.metric("stanchion_limits_store_lost") == 1
        redis.start()
        for gateway in twins:
            await settled(lambda gateway=gateway: "limits.store_back" in gateway.log, within_s=20)
            assert gateway.metric("stanchion_limits_store_lost") == 0
        before = let_in(quota)
        await settled(lambda: let_in(quota) >= before + 20, within_s=60)
        for each in asking:
            each.cancel()
    assert refused(quota) <= 2 * _REFUSED_MOST, "never unlimited"


async def test_a_thousand_calls_at_a_quota_of_ten_make_ten_upstream_calls(tmp_path: Path):
    with Provider(SimulatorOptions(limits=Limits(rpm=10))) as small:
        settings = {"deadline.total_s": 4.0, "line.caller_waiting_most": 2000}
        async with AsyncClient(api_key=KEY, base_url=small.base_url, settings=settings) as client:
            ends = await asyncio.gather(
                *(client.chat(ASKED, model="gpt-4o", max_tokens=2) for _ in range(1000)),
                return_exceptions=True,
            )
        assert sum(not isinstance(end, BaseException) for end in ends) == 10
        assert all(isinstance(end, StanchionError) for end in ends if isinstance(end, BaseException))
        wait_for(lambda: small.running == 0)
        assert [call.status for call in small.calls] == [200] * 10
