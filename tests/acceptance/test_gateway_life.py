"""A gateway in silence, and at its end: heartbeats that clients survive, and a drain that loses no answer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from stanchion.simulator import SimulatorOptions, Timing
from tests.acceptance.raw_client import Answer, Wire, ask, request
from tests.acceptance.stage import ASKED, QUICK, Gateway, Provider, provider, settled

IMPATIENT = "[attempt_timeout]\nfirst_token_s = 1.0\nstall_s = 0.8\n"
KEYED = {"idempotency-key": "k-1"}


def asked(**more: object) -> dict[str, object]:
    return {"model": "gpt-4o", "messages": ASKED, "stream": True, "max_tokens": 10, **more}


@pytest.fixture(scope="module")
def paced() -> Iterator[Provider]:
    with Provider(SimulatorOptions(timing=Timing(tokens_per_s=100.0))) as running:
        yield running


@pytest.fixture(scope="module")
def beating(paced: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = QUICK.replace("attempts = 2", "attempts = 1") + IMPATIENT + provider("paced", paced.base_url)
    lines = "heartbeat_s = 0.2\ndrain_notice_s = 0"
    with Gateway(tmp_path_factory.mktemp("beating"), settings, gateway=lines) as running:
        yield running


# --- heartbeats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_stream_that_waits_is_kept_alive(beating: Gateway, paced: Provider, *, keyed: bool):
    paced.plan("slow:0.7")
    seen = await ask(
        beating.port,
        asked(user=f"waits-{keyed}"),
        headers={"idempotency-key": f"w-{keyed}"} if keyed else None,
    )
    assert seen.body.startswith(b": ping\n")
    assert 2 <= seen.body.count(b": ping\n") <= 6
    assert seen.is_success
    assert seen.headers["content-type"].startswith("text/event-stream")
    assert seen.headers["x-request-id"].startswith("req_")
    if keyed:
        assert b": ping\n\n" not in seen.body, "with ids an empty line would end an event"
        assert b"id: 1\ndata: " in seen.body


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "sdk-1"}], ids=["plain", "keyed"])
def test_the_sdk_survives_heartbeats(beating: Gateway, paced: Provider, headers: dict[str, str]):
    paced.plan("slow:0.7")
    with OpenAI(base_url=beating.base_url, api_key="sk-mine", default_headers=headers, max_retries=0) as sdk:
        chunks = list(sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True, max_tokens=10))
    assert chunks[-1].choices[0].finish_reason == "length"
    assert len(paced.calls) == 1


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_stream_that_stalls_is_kept_alive_and_then_told(
    beating: Gateway, paced: Provider, *, keyed: bool
):
    paced.plan("stall:4")
    seen = await ask(
        beating.port, asked(user=f"s-{keyed}"), headers={"idempotency-key": f"s-{keyed}"} if keyed else None
    )
    assert b": ping\n" in seen.body
    assert seen.error["code"] == "stalled"
    assert (seen.whole, seen.done) == (False, False)


@pytest.mark.parametrize("fault", ["silence", "slow:9"])
async def test_an_error_after_a_heartbeat_is_said_in_the_stream(
    beating: Gateway, paced: Provider, fault: str
):
    paced.plan(fault)
    seen = await ask(beating.port, asked())
    assert seen.status == 200
    assert seen.body.startswith(b": ping\n\n")
    assert seen.error["code"] == "first_token_timeout"
    assert (seen.whole, seen.done) == (False, False)


def test_the_sdk_raises_an_error_that_comes_after_a_heartbeat(beating: Gateway, paced: Provider):
    paced.plan("silence")
    sdk = OpenAI(base_url=beating.base_url, api_key="sk-mine", max_retries=0)
    with sdk, pytest.raises(openai.APIError) as caught:
        list(sdk.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True))
    assert caught.value.code == "first_token_timeout"


async def test_a_whole_answer_gets_no_heartbeat(beating: Gateway, paced: Provider):
    paced.plan("slow:0.7")
    seen = await ask(beating.port, asked(stream=False))
    assert seen.is_success
    assert seen.json["choices"]


# --- the end -----------------------------------------------------------------------------------------


async def ended(gateway: Gateway) -> int:
    return await asyncio.to_thread(gateway.process.wait, 10)


async def test_a_drain_loses_no_answer(tmp_path: Path, paced: Provider):
    paced.plan()
    lines = "drain_notice_s = 0.4\ndrain_s = 10"
    with Gateway(tmp_path, QUICK + provider("paced", paced.base_url), gateway=lines) as gateway:
        async with asyncio.TaskGroup() as group:
            stream = group.create_task(ask(gateway.port, asked(max_tokens=150)))
            whole = group.create_task(ask(gateway.port, asked(max_tokens=150, stream=False)))
            keyed = group.create_task(ask(gateway.port, asked(max_tokens=150), headers=KEYED))
            await settled(lambda: paced.running == 3)
            gateway.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert await asyncio.to_thread(gateway.get, "/readyz") == (503, '{"status":"draining"}')
            assert (await asyncio.to_thread(gateway.get, "/healthz"))[0] == 200
            late = await ask(gateway.port, asked(max_tokens=3))
            assert late.is_success, "who did not yet hear that we end is answered"
            await asyncio.sleep(0.5)
            refused = await ask(gateway.port, asked())
        assert await ended(gateway) == 0
    answers: list[Answer] = [stream.result(), whole.result(), keyed.result()]
    assert [answer.is_success for answer in answers] == [True] * 3
    assert (refused.status, refused.error["code"]) == (503, "shutting_down")
    assert refused.headers["retry-after"] == "1"
    assert "x-should-retry" not in refused.headers, "another gateway may answer"
    assert refused.headers["connection"] == "close"


async def test_a_drain_that_takes_too_long_says_so_in_what_is_open(tmp_path: Path, paced: Provider):
    paced.plan("ok", "ok", "silence", "silence")
    lines = "drain_notice_s = 0\ndrain_s = 0.3"
    with Gateway(tmp_path, QUICK + provider("paced", paced.base_url), gateway=lines) as gateway:
        async with asyncio.TaskGroup() as group:
            stream = group.create_task(ask(gateway.port, asked(max_tokens=400)))
            keyed = group.create_task(ask(gateway.port, asked(max_tokens=400), headers=KEYED))
            await settled(lambda: paced.running == 2)
            waiting = group.create_task(ask(gateway.port, asked()))
            whole = group.create_task(ask(gateway.port, asked(stream=False)))
            await settled(lambda: paced.running == 4)
            await asyncio.sleep(0.2)
            gateway.process.send_signal(signal.SIGTERM)
        assert await ended(gateway) == 0
    for cut in (stream.result(), keyed.result()):
        assert cut.status == 200
        assert cut.error["code"] == "shutting_down"
        assert (cut.whole, cut.done) == (False, False)
    for refused in (waiting.result(), whole.result()):
        assert (refused.status, refused.error["code"]) == (503, "shutting_down")
        assert refused.whole
    await settled(lambda: paced.running == 0)


async def test_a_second_signal_ends_at_once(tmp_path: Path, paced: Provider):
    paced.plan("silence")
    lines = "drain_notice_s = 0\ndrain_s = 60"
    with Gateway(tmp_path, QUICK + provider("paced", paced.base_url), gateway=lines) as gateway:
        async with await Wire.open(gateway.port) as wire:
            wire.send(request(asked(stream=False)))
            await settled(lambda: paced.running == 1)
            gateway.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            assert gateway.process.poll() is None
            gateway.process.send_signal(signal.SIGTERM)
            assert await ended(gateway) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_gateway_ends_quickly_and_well(tmp_path: Path, paced: Provider, number: int):
    with Gateway(tmp_path, QUICK + provider("paced", paced.base_url)) as gateway:
        async with await Wire.open(gateway.port) as idle:
            idle.send(request(b"", method="GET", path="/healthz"))
            await idle.answer()
            gateway.process.send_signal(number)
            async with asyncio.timeout(5):
                assert await ended(gateway) == 0
    assert "Traceback" not in gateway.log
