"""One quota of a provider, kept by two gateways on one Redis, through its loss and return; and by one program."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from stanchion import AsyncClient, StanchionError
from stanchion.simulator import Limits, SimulatorOptions, Timing
from tests.acceptance.served import wait_for
from tests.acceptance.stage import ASKED, KEY, Gateway, Provider, provider, settled
from tests.contract.servers import RedisServer, at_hand

_RPM = 240  # four a second, 240 at once
_REFUSED_MOST = 8  # what two learners may meet together

pytestmark = pytest.mark.anyio


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with at_hand(RedisServer) as server:
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
            answered = refused = 0

            async def ask() -> None:
                nonlocal answered, refused
                try:
                    await client.chat(ASKED, model="gpt-4o", max_tokens=2)
                    answered += 1
                except StanchionError:
                    refused += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(1000):
                    group.create_task(ask())
        assert (answered, refused) == (10, 990)
        wait_for(lambda: small.running == 0)
        assert [call.status for call in small.calls] == [200] * 10


async def test_places_at_a_provider_are_counted_across_programs_and_given_back_by_those_who_leave(
    tmp_path: Path,
):
    slow = SimulatorOptions(timing=Timing(ttft_s=0.05, tokens_per_s=50))
    settings = {
        "providers.slow.models": ["*"],
        "providers.slow.key_env": ["SLOW_KEY"],
        "providers.slow.open_most": 3,
        "stores.limits": f"sqlite://{tmp_path}/limits.db",
    }
    with Provider(slow) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLOW_KEY", KEY)
        settings["providers.slow.base_url"] = running.base_url
        most = 0

        async def ask(client: AsyncClient, number: int) -> None:
            nonlocal most
            call = client.chat(ASKED, model="gpt-4o", max_tokens=8)
            if number % 3 == 0:  # somebody always leaves in the middle
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(call, 0.1 + number / 100)
            else:
                assert (await call).text
            most = max(most, running.running)

        async with (
            AsyncClient(settings=settings) as one,
            AsyncClient(settings=settings) as two,
            asyncio.TaskGroup() as group,
        ):
            for number in range(12):
                group.create_task(ask(one, number))
                group.create_task(ask(two, number))
        assert 1 <= most <= 3
