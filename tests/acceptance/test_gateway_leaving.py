"""A client that leaves ends its call at the provider at once, and what it cost is booked as an estimate."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator

import pytest

from stanchion.simulator import SimulatorOptions, Timing
from tests.acceptance.raw_client import Wire, ask, request
from tests.acceptance.stage import ASKED, QUICK, Gateway, LoopThread, Provider, provider, settled
from tests.integration.raw_server import RawServer, Visit

NOTICED_S = 1.0  # generous: on a quiet machine it is a few milliseconds


@pytest.fixture(scope="module")
def slow() -> Iterator[Provider]:
    with Provider(SimulatorOptions(timing=Timing(ttft_s=0.02, tokens_per_s=40.0))) as running:
        yield running


@pytest.fixture(scope="module")
def over_slow(slow: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = QUICK + provider("slow", slow.base_url)
    with Gateway(tmp_path_factory.mktemp("slow"), settings) as running:
        yield running


def asked(*, stream: bool) -> dict[str, object]:
    return {"model": "gpt-4o", "messages": ASKED, "stream": stream}


async def left_after(slow: Provider, wire: Wire, *, reset: bool) -> float:
    """Leave; return how many seconds later the provider noticed."""
    left_at = time.time()
    wire.writer.transport.abort() if reset else wire.writer.close()
    await settled(lambda: slow.running == 0, within_s=5)
    (call,) = slow.calls
    assert call.client_left_at is not None
    assert not call.completed
    return call.client_left_at - left_at


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("when", ["whole", "silence", "first token", "in the stream"])
async def test_a_client_that_leaves_ends_the_call_at_the_provider(
    over_slow: Gateway, slow: Provider, when: str, record_property, *, reset: bool
):
    slow.plan(*(["silence"] if when == "silence" else ["slow:5"] if when == "first token" else []))
    before = over_slow.metric("stanchion_calls_total", outcome="cancelled")
    booked = over_slow.metric("stanchion_tokens_total", estimated="true")
    async with await Wire.open(over_slow.port) as wire:
        wire.send(request(asked(stream=when not in ("whole", "silence"))))
        if when == "in the stream":
            await wire.head()
            for _ in range(4):
                await wire.piece()
        else:
            await settled(lambda: slow.running == 1)
            await asyncio.sleep(0.2)
        seconds = await left_after(slow, wire, reset=reset)
    record_property("noticed_after_s", seconds)
    assert seconds < NOTICED_S
    assert len(slow.calls) == 1, "nobody is there to try again for"
    await settled(lambda: over_slow.metric("stanchion_calls_total", outcome="cancelled") == before + 1)
    spent = over_slow.metric("stanchion_tokens_total", estimated="true") - booked
    prompt = slow.calls[0].prompt_tokens or 20
    assert prompt / 3 < spent < 6 * prompt + 60, "the prompt and what was written so far, roughly"


async def test_a_client_that_leaves_does_not_spoil_the_next_call(over_slow: Gateway, slow: Provider):
    slow.plan("silence")
    async with await Wire.open(over_slow.port) as wire:
        wire.send(request(asked(stream=False)))
        await settled(lambda: slow.running == 1)
    seen = await ask(over_slow.port, {**asked(stream=True), "max_tokens": 5})
    assert seen.is_success


async def test_a_client_that_reads_nothing_holds_back_its_own_stream_only(over_slow: Gateway, slow: Provider):
    slow.plan()
    async with await Wire.open(over_slow.port) as lazy:
        lazy.send(request({**asked(stream=True), "max_tokens": 30}))
        seen = await ask(over_slow.port, {**asked(stream=True), "max_tokens": 5})
        assert seen.is_success
        assert (await lazy.answer()).is_success


async def test_200_clients_that_leave_at_random_moments_leave_nothing(over_slow: Gateway, slow: Provider):
    slow.plan()
    chance = random.Random(20261124)

    async def visit() -> None:
        try:
            async with asyncio.timeout(chance.random() * 0.5), await Wire.open(over_slow.port) as wire:
                stream = chance.random() < 0.7
                wire.send(request({**asked(stream=stream), "max_tokens": chance.randrange(1, 20)}))
                await wire.answer()
        except TimeoutError:
            return

    for _ in range(4):
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(visit())
    await settled(lambda: slow.running == 0, within_s=5)
    await settled(lambda: over_slow.metric("stanchion_calls_open") == 0)
    assert any(call.client_left_at for call in slow.calls)
    assert any(call.completed for call in slow.calls)
    assert "Traceback" not in over_slow.log
    assert (await ask(over_slow.port, {**asked(stream=True), "max_tokens": 5})).is_success


# --- clients that do not read ------------------------------------------------------------------------


class Flood(LoopThread):
    """A provider whose stream is far longer than all buffers between it and the client."""

    def __enter__(self) -> Flood:
        super().__enter__()
        self.events_sent = 0
        choice = b'{"index":0,"delta":{"content":"%b"},"finish_reason":null}' % (b"x" * 8000)
        event = b'data: {"id":"x","object":"chat.completion.chunk","choices":[%b]}\n\n' % choice

        async def answer(visit: Visit) -> None:
            visit.begin_stream()
            for _ in range(100_000):
                visit.say_chunk(event)
                await visit.flush()
                self.events_sent += 1

        self.server = self.do(lambda: RawServer(answer))
        self.run(self.server.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self.run(self.server.__aexit__())
        super().__exit__(None, None, None)


async def test_a_client_that_does_not_read_stops_the_provider_and_holds_it_no_longer_than_its_deadline(
    tmp_path,
):
    pieces: list[bytes] = []
    with (
        Flood() as flood,
        Gateway(tmp_path, QUICK + provider("flood", flood.server.base_url)) as gateway,
    ):
        async with await Wire.open(gateway.port) as wire:
            wire.send(request(asked(stream=True), headers={"x-stanchion-deadline-s": "3"}))
            await wire.head()
            sent = -1
            while sent != flood.events_sent:  # until what nobody reads is no longer fetched
                sent = flood.events_sent
                await asyncio.sleep(0.3)
            assert flood.server.open == 1
            await settled(lambda: flood.server.open == 0, within_s=5)
            with pytest.raises(asyncio.IncompleteReadError):
                await read_to_the_end(wire, pieces)
            # it is broken off, and never ended; whether the error event still fits into full buffers is luck
            assert not any(b"[DONE]" in piece for piece in pieces)


async def read_to_the_end(wire: Wire, pieces: list[bytes]) -> None:
    while (piece := await wire.piece()) is not None:
        pieces.append(piece)
