"""The cache and shared calls as their users meet them: over HTTP, in the library, on a Redis that dies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stanchion import AsyncClient
from stanchion.simulator import SimulatorOptions, Timing
from stanchion.stores.ledger import Asked
from stanchion.stores.opening import open_ledger
from tests.acceptance.raw_client import Answer, Wire, ask, request
from tests.acceptance.served import wait_for
from tests.acceptance.stage import ASKED, KEY, QUICK, Gateway, Provider, provider, settled
from tests.contract.servers import RedisServer, at_hand

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def random_provider() -> Iterator[Provider]:
    """A provider that gives each answer a name of its own: only a kept one can repeat it."""
    options = SimulatorOptions(timing=Timing(tokens_per_s=150.0), nondeterministic=True)
    with Provider(options) as running:
        yield running


@pytest.fixture(scope="module")
def caching(random_provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = QUICK + provider("random", random_provider.base_url) + '[resume]\nmode = "error"\n'
    with Gateway(tmp_path_factory.mktemp("cache"), settings) as running:
        yield running


@pytest.fixture
def one(random_provider: Provider) -> Provider:
    random_provider.plan()
    return random_provider


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with at_hand(RedisServer) as server:
        yield server


@pytest.fixture
def own(request: pytest.FixtureRequest) -> dict[str, str]:
    """The headers of a caller that is this test's alone."""
    return {"authorization": f"Bearer {request.node.name}"}


def asked(*, stream: bool = False, **more: object) -> dict[str, object]:
    body = {"model": "gpt-4o", "messages": ASKED, "stream": stream, "max_tokens": 25, "temperature": 0}
    return {**body, **more}


def written_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("cache.db*"))


def cache_of(*answers: Answer) -> list[str | None]:
    return [each.headers.get("x-stanchion-cache") for each in answers]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_call_is_answered_with_the_same_bytes_from_one_call(
    caching: Gateway, one: Provider, own: dict[str, str], *, stream: bool
):
    hits = caching.metric("stanchion_cache_calls_total", result="hit")
    first, again = [await ask(caching.port, asked(stream=stream), headers=own) for _ in range(2)]
    assert first.is_success
    assert again.is_success
    assert first.body == again.body
    assert cache_of(first, again) == ["miss", "hit"]
    assert first.headers["x-stanchion-endpoint"] == again.headers["x-stanchion-endpoint"]
    assert not any(name.startswith("x-ratelimit") for name in again.headers)  # they told of another moment
    assert len(one.calls) == 1
    assert caching.metric("stanchion_cache_calls_total", result="hit") == hits + 1
    assert caching.metric("stanchion_cache_bytes") > 0
    await settled(lambda: '"cache":"hit"' in caching.log)


async def test_another_caller_gets_an_answer_of_its_own(caching: Gateway, one: Provider, own: dict[str, str]):
    other = {"authorization": "Bearer sk-other"}
    answers = [await ask(caching.port, asked(), headers=each) for each in (own, other, own, other)]
    assert cache_of(*answers) == ["miss", "miss", "hit", "hit"]
    assert answers[0].json["id"] != answers[1].json["id"]
    assert len(one.calls) == 2


async def test_what_a_caller_says_of_kept_answers_is_followed(
    caching: Gateway, one: Provider, own: dict[str, str]
):
    said = ["only-if-cached", "max-age=60", "max-age=60", "no-store", "no-cache", "max-age=60"]
    answers = [
        await ask(caching.port, asked(temperature=1), headers={**own, "cache-control": each}) for each in said
    ]
    assert [each.status for each in answers] == [504, 200, 200, 200, 200, 200]
    assert answers[0].error["code"] == "not_cached"
    assert cache_of(*answers[1:]) == ["miss", "hit", None, None, "hit"]
    assert cache_of(await ask(caching.port, asked(temperature=1), headers=own)) == [None]
    wrong = await ask(caching.port, asked(), headers={**own, "cache-control": "max-age=soon"})
    assert (wrong.status, wrong.error["param"]) == (400, "Cache-Control")


async def test_a_stream_that_is_cut_is_not_given_again(caching: Gateway, one: Provider, own: dict[str, str]):
    one.plan("cut:6")
    seen = await ask(caching.port, asked(stream=True), headers=own)
    assert not seen.is_success
    again = await ask(caching.port, asked(stream=True), headers=own)
    assert again.is_success
    assert cache_of(again) == ["miss"]


@pytest.mark.parametrize("stream", [False, True])
async def test_twenty_at_once_share_one_call(
    caching: Gateway, one: Provider, own: dict[str, str], *, stream: bool
):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(caching.port, asked(stream=stream), headers=own)) for _ in range(20)]
    answers = [task.result() for task in tasks]
    assert all(answer.is_success for answer in answers)
    assert len({answer.body for answer in answers}) == 1
    assert len(one.calls) == 1
    assert cache_of(*answers).count("miss") == 1
    assert "coalesced" in cache_of(*answers)


async def test_the_first_may_leave_and_the_last_ends_the_call(
    caching: Gateway, one: Provider, own: dict[str, str]
):
    body = request(asked(stream=True, max_tokens=200), headers=own)
    async with await Wire.open(caching.port) as first:
        first.send(body)
        await first.head()
        second = await Wire.open(caching.port)
        second.send(body)
        assert cache_of(await second.head()) == ["coalesced"]
    await asyncio.sleep(0.2)  # the gateway sees it leave
    assert one.running == 1
    assert await second.piece() is not None
    second.writer.close()
    await settled(lambda: one.running == 0)
    assert [call.completed for call in one.calls] == [False]


async def test_two_gateways_share_a_redis_and_lose_it_without_losing_an_answer(
    tmp_path: Path, redis: RedisServer, one: Provider, own: dict[str, str]
):
    settings = QUICK + provider("random", one.base_url)
    settings += f'[stores]\ncache = ["{redis.url}"]\nkeys = "{redis.url}"\n'
    with Gateway(tmp_path, settings) as here, Gateway(tmp_path, settings) as there:
        assert cache_of(await ask(here.port, asked(), headers=own)) == ["miss"]
        await settled(lambda: b"cache:" in redis.say(b"KEYS *:cache:*\r\n"))
        assert cache_of(await ask(there.port, asked(), headers=own)) == ["hit"]
        assert len(one.calls) == 1
        redis.kill()
        answers = [await ask(here.port, asked(seed=number), headers=own) for number in (1, 2, 1)]
        assert [each.status for each in answers] == [200] * 3
        assert cache_of(*answers) == ["miss", "miss", "hit"]  # memory goes on
        assert here.metric("stanchion_cache_store_lost", store=redis.url) == 1
        wait_for(lambda: "cache.store_lost" in here.log)


async def test_a_file_keeps_answers_beyond_a_restart(tmp_path: Path, one: Provider):
    settings = QUICK + provider("random", one.base_url)
    settings += f'[stores]\ncache = ["sqlite://{tmp_path}/cache.db"]\nkeys = "sqlite://{tmp_path}/keys.db"\n'
    answers = list[Answer]()
    for _ in range(2):
        with Gateway(tmp_path, settings) as gateway:  # at its end the outbox is emptied
            answers.append(await ask(gateway.port, asked(stream=True)))
    assert cache_of(*answers) == ["miss", "hit"]
    assert answers[0].body == answers[1].body
    assert b"20261123" not in written_in(tmp_path)  # the prompt is not in it


async def test_the_library_says_what_was_kept_and_that_it_cost_nothing(one: Provider):
    prices = {"prices.gpt-4o.input": 1.0, "prices.gpt-4o.output": 2.0}
    async with AsyncClient(base_url=one.base_url, api_key=KEY, settings=prices) as client:
        replies = [await client.chat("hi", model="gpt-4o", temperature=0) for _ in range(2)]
        assert [each.cached for each in replies] == [False, True]
        assert replies[0].text == replies[1].text
        assert [each.cost == 0 for each in replies] == [False, True]
        assert replies[1].usage == replies[0].usage
        for cached in (False, True):
            async with client.stream("hi", model="gpt-4o", cache="max-age=60") as stream:
                async for _ in stream:
                    pass
                assert (stream.cached, stream.cost == 0) == (cached, cached)
                assert stream.reply().text
        sdk = client.openai(max_retries=0)
        seen = [
            await sdk.chat.completions.with_raw_response.create(
                model="gpt-4o", messages=ASKED, extra_headers={"cache-control": "max-age=9"}
            )
            for _ in range(2)
        ]
        assert [each.headers["x-stanchion-cache"] for each in seen] == ["miss", "hit"]
    assert len(one.calls) == 3


async def test_a_shared_stream_is_booked_once_also_where_the_one_who_began_it_left(
    tmp_path: Path, one: Provider
):
    address = f"sqlite://{tmp_path}/ledger.db"
    settings = {"stores.ledger": address, "cache.use": "off"}
    asking: dict[str, Any] = {"model": "gpt-4o", "temperature": 0, "max_tokens": 25}
    async with AsyncClient(base_url=one.base_url, api_key=KEY, settings=settings) as client:
        async with client.stream(ASKED, **asking) as first:
            await anext(first)
            second = client.stream(ASKED, **asking)
            await second.__aenter__()
        async for _ in second:
            pass
        assert second.complete
        assert second.usage is not None
        assert (first.complete, second.cost) == (False, 0)
    ledger = open_ledger(address)
    (total,) = await ledger.used(Asked())
    await ledger.aclose()
    counted = [total.of(each) for each in ("calls", "cancelled", "cached", "attempts", "input", "output")]
    assert counted == [2, 1, 1, 1, second.usage.input, second.usage.output]
    assert len(one.calls) == 1
