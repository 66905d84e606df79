"""One idempotency key, one upstream call, one answer: byte for byte, also for a stream that was lost half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from stanchion.simulator import SimulatorOptions, Timing
from tests.acceptance.raw_client import Answer, Wire, ask, request
from tests.acceptance.stage import ASKED, QUICK, Gateway, Provider, provider, settled


@pytest.fixture(scope="module")
def random_provider() -> Iterator[Provider]:
    """A provider that gives each answer a name of its own: only a recording can repeat it."""
    options = SimulatorOptions(timing=Timing(tokens_per_s=150.0), nondeterministic=True)
    with Provider(options) as running:
        yield running


@pytest.fixture(scope="module")
def over_it(random_provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = QUICK + provider("random", random_provider.base_url)
    with Gateway(tmp_path_factory.mktemp("keys"), settings) as running:
        yield running


@pytest.fixture
def one(random_provider: Provider) -> Provider:
    random_provider.plan()
    return random_provider


@pytest.fixture
def gateway(over_it: Gateway, one: Provider) -> Gateway:
    return over_it


def asked(*, stream: bool, **more: object) -> dict[str, object]:
    return {"model": "gpt-4o", "messages": ASKED, "stream": stream, "max_tokens": 25, **more}


def keyed(request: pytest.FixtureRequest, who: str = "sk-mine", **more: str) -> dict[str, str]:
    """Make headers with a key of this test's own."""
    return {"idempotency-key": request.node.name, "authorization": f"Bearer {who}", **more}


def ids(answer: Answer) -> set[str]:
    """Return what the provider calls its answer: another one for each."""
    return {event["id"] for event in (answer.events if answer.data else [answer.json])}


async def read_some(wire: Wire, events: int) -> Answer:
    """Read until some events are there; the connection stays open."""
    found = await wire.head()
    while found.body.count(b"\n\n") < events:
        piece = await wire.piece()
        assert piece is not None
        found.body += piece
    return found


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_key_and_body_give_the_same_bytes_from_one_call(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest, *, stream: bool
):
    first = await ask(gateway.port, asked(stream=stream), headers=keyed(request))
    again = await ask(gateway.port, asked(stream=stream), headers=keyed(request))
    other = await ask(gateway.port, asked(stream=stream), headers=keyed(request, who="sk-other"))
    assert first.is_success
    assert again.is_success
    assert first.body == again.body
    assert ids(other).isdisjoint(ids(first))
    assert len(one.calls) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_twenty_at_once_share_one_call(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest, *, stream: bool
):
    async with asyncio.TaskGroup() as group:
        headers = keyed(request)
        tasks = [
            group.create_task(ask(gateway.port, asked(stream=stream), headers=headers)) for _ in range(20)
        ]
    answers = [task.result() for task in tasks]
    assert all(answer.is_success for answer in answers)
    assert len({answer.body for answer in answers}) == 1
    assert len(one.calls) == 1


async def test_a_stream_that_was_lost_goes_on_behind_the_last_event(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest
):
    async with await Wire.open(gateway.port) as wire:
        wire.send(request_of(asked(stream=True), keyed(request)))
        seen = await read_some(wire, 5)
    last = seen.body.count(b"\n\n")
    assert f"id: {last}\n".encode() in seen.body
    rest = await ask(gateway.port, asked(stream=True), headers=keyed(request, **{"last-event-id": str(last)}))
    whole = await ask(gateway.port, asked(stream=True), headers=keyed(request))
    assert rest.is_success
    assert seen.body + rest.body == whole.body
    assert f"id: {last + 1}\n".encode() in rest.body
    assert f"id: {last}\n".encode() not in rest.body
    assert len(one.calls) == 1
    assert one.calls[0].completed, "the one who sent a key means to come back"


async def test_a_stream_that_was_lost_comes_again_from_the_start(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest
):
    async with await Wire.open(gateway.port) as wire:
        wire.send(request_of(asked(stream=True), keyed(request)))
        seen = await read_some(wire, 5)
    whole = await ask(gateway.port, asked(stream=True), headers=keyed(request))
    assert whole.is_success
    assert whole.body.startswith(seen.body)
    assert len(one.calls) == 1


async def test_a_whole_answer_whose_asker_left_is_there_when_it_comes_back(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest
):
    async with await Wire.open(gateway.port) as wire:
        wire.send(request_of(asked(stream=False), keyed(request)))
        await settled(lambda: one.running == 1)
        await asyncio.sleep(0.1)
    seen = await ask(gateway.port, asked(stream=False), headers=keyed(request))
    assert seen.is_success
    assert len(one.calls) == 1


@pytest.mark.parametrize("last", ["0", "1000"])
async def test_an_event_before_the_first_or_behind_the_last_is_taken_as_said(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest, last: str
):
    whole = await ask(gateway.port, asked(stream=True), headers=keyed(request))
    rest = await ask(gateway.port, asked(stream=True), headers=keyed(request, **{"last-event-id": last}))
    assert rest.whole
    assert rest.body == (whole.body if last == "0" else b"")


@pytest.mark.parametrize(
    "changed", [{"max_tokens": 24}, {"stream": True}, {"messages": [{"role": "user", "content": "other"}]}]
)
async def test_another_body_under_the_same_key_is_refused(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest, changed: dict[str, object]
):
    await ask(gateway.port, asked(stream=False), headers=keyed(request))
    seen = await ask(gateway.port, {**asked(stream=False), **changed}, headers=keyed(request))
    assert (seen.status, seen.error["code"]) == (422, "idempotency_key_reused")
    assert seen.headers["x-should-retry"] == "false"
    assert len(one.calls) == 1


async def test_another_path_under_the_same_key_is_refused(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest
):
    body = {"model": "gpt-4o", "messages": ASKED, "input": "?", "max_tokens": 5}
    await ask(gateway.port, body, headers=keyed(request))
    seen = await ask(gateway.port, body, path="/v1/embeddings", headers=keyed(request))
    assert seen.status == 422
    assert len(one.calls) == 1


def test_the_sdk_does_not_try_a_reused_key_again(gateway: Gateway, one: Provider):
    before = gateway.metric("stanchion_calls_total", code="KeyReused")
    with OpenAI(
        base_url=gateway.base_url, api_key="sk-mine", default_headers={"Idempotency-Key": "sdk"}
    ) as sdk:
        sdk.chat.completions.create(model="gpt-4o", messages=ASKED, max_tokens=5)
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            sdk.chat.completions.create(model="gpt-4o", messages=ASKED, max_tokens=6)
    assert caught.value.code == "idempotency_key_reused"
    assert gateway.metric("stanchion_calls_total", code="KeyReused") == before + 1
    assert len(one.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_another_caller_shares_nothing(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest, *, stream: bool
):
    mine = await ask(gateway.port, asked(stream=stream), headers=keyed(request))
    theirs = await ask(gateway.port, asked(stream=stream), headers=keyed(request, who="sk-theirs"))
    nobodys = await ask(gateway.port, asked(stream=stream), headers={"idempotency-key": request.node.name})
    assert len(ids(mine) | ids(theirs) | ids(nobodys)) == 3
    assert len(one.calls) == 3


async def test_without_a_key_nothing_is_shared_and_nothing_numbered(gateway: Gateway, one: Provider):
    first = await ask(gateway.port, asked(stream=True))
    second = await ask(gateway.port, asked(stream=True))
    assert ids(first).isdisjoint(ids(second))
    assert b"id: " not in first.body.replace(b'"id": ', b"")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_is_told_to_all_who_wait_and_is_not_kept(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest, *, stream: bool
):
    one.plan("400")
    async with asyncio.TaskGroup() as group:
        headers = keyed(request)
        tasks = [
            group.create_task(ask(gateway.port, asked(stream=stream), headers=headers)) for _ in range(5)
        ]
    assert {task.result().status for task in tasks} <= {200, 400}
    assert 400 in {task.result().status for task in tasks}
    assert (await ask(gateway.port, asked(stream=stream), headers=keyed(request))).is_success


async def test_a_stream_cut_upstream_is_cut_for_every_reader(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest
):
    one.plan("cut:6,end=abort")
    async with asyncio.TaskGroup() as group:
        headers = keyed(request)
        tasks = [group.create_task(ask(gateway.port, asked(stream=True), headers=headers)) for _ in range(5)]
    for seen in [task.result() for task in tasks]:
        assert seen.status == 200
        assert seen.error["code"] == "reset_in_answer"
        assert not seen.whole
    assert len(one.calls) == 1
    assert (await ask(gateway.port, asked(stream=True), headers=keyed(request))).is_success


async def test_a_slow_reader_does_not_hold_back_the_others(
    gateway: Gateway, one: Provider, request: pytest.FixtureRequest
):
    async with await Wire.open(gateway.port) as slow:
        slow.send(request_of(asked(stream=True), keyed(request)))
        await read_some(slow, 1)
        assert (await ask(gateway.port, asked(stream=True), headers=keyed(request))).is_success
    assert len(one.calls) == 1


def request_of(body: dict[str, object], headers: dict[str, str]) -> bytes:
    return request(body, headers=headers)
