"""What stands on the simulator's wire under each fault, and how its HTTP behaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from openai import APIConnectionError, APIError, AsyncOpenAI

from stanchion.simulator import Simulator
from tests.integration.raw_http import ASKED, Wire, request, settled


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=sim.base_url, api_key="sk-secret", max_retries=0) as made:
        yield made


@pytest.fixture
async def wire(sim: Simulator) -> AsyncIterator[Wire]:
    made = await Wire.open(sim)
    try:
        yield made
    finally:
        made.writer.close()


async def streamed(wire: Wire, model: str) -> tuple[list[bytes], bool]:
    wire.writer.write(request(model, stream=True))
    status, headers = await wire.head()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert headers["content-type"].startswith("text/event-stream")
    return await wire.chunks()


async def test_a_clean_stream_ends_with_done_and_the_last_chunk(wire: Wire, sim: Simulator):
    events, terminated = await streamed(wire, "gpt-4o")
    assert terminated
    assert events[-1] == b"data: [DONE]\n\n"
    assert sim.calls[-1].events_sent == len(events) - 1
    assert sim.open_streams == 0


async def test_a_cut_stream_looks_complete_and_lacks_done(wire: Wire, sim: Simulator):
    events, terminated = await streamed(wire, "fault-cut-5")
    assert (len(events), terminated) == (5, True)
    assert not sim.calls[-1].completed


async def test_an_aborted_stream_ends_in_the_middle_of_an_event(wire: Wire, sim: Simulator):
    events, terminated = await streamed(wire, "fault-cut-5-abort")
    assert (len(events), terminated) == (6, False)
    assert not events[-1].endswith(b"\n\n")
    assert (sim.calls[-1].fault, sim.calls[-1].events_sent) == ("cut:5,end=abort", 5)


async def test_a_reset_stream_resets(wire: Wire):
    wire.writer.write(request("fault-cut-5-reset", stream=True))
    with pytest.raises(ConnectionResetError):
        await wire.rest()


async def test_a_stream_is_cut_after_so_many_bytes(wire: Wire):
    events, terminated = await streamed(wire, "fault-cut-bytes-300")
    assert (sum(map(len, events)), terminated) == (300, True)


async def test_a_whole_reply_is_cut_short_of_its_length(wire: Wire):
    wire.writer.write(request("fault-cut-bytes-100-abort"))
    _, headers = await wire.head()
    assert int(headers["content-length"]) > 500
    assert len(await wire.rest()) == 100


async def test_a_cut_whole_reply_may_claim_to_be_complete(wire: Wire):
    wire.writer.write(request("fault-cut-bytes-100"))
    _, headers = await wire.head()
    assert headers["content-length"] == "100"
    with pytest.raises(json.JSONDecodeError):
        json.loads(await wire.reader.readexactly(100))


async def test_a_reset_before_the_headers_sends_nothing(wire: Wire, sim: Simulator):
    wire.writer.write(request("fault-reset"))
    with pytest.raises(ConnectionResetError):
        await wire.rest()
    assert (sim.calls[-1].status, sim.calls[-1].bytes_sent) == (None, 0)


async def test_silence_lasts_until_the_client_leaves(wire: Wire, sim: Simulator):
    wire.writer.write(request("fault-silence"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await wire.reader.read(1)
    assert sim.running_calls == 1
    wire.writer.close()
    await settled(lambda: sim.calls[-1].client_left_at is not None)
    assert sim.running_calls == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stalled_reply_stays_open_and_the_log_tells_who_left(
    wire: Wire, sim: Simulator, stream: bool
):
    wire.writer.write(request("fault-stall-3", stream=stream))
    await wire.head()
    assert await wire.reader.read(1)
    assert sim.open_streams == int(stream)
    wire.writer.close()
    await settled(lambda: sim.calls[-1].client_left_at is not None)
    assert (sim.calls[-1].completed, sim.calls[-1].events_sent) == (False, 3 if stream else 0)
    assert sim.open_streams == 0


async def test_slow_holds_the_first_event_back_not_the_headers(wire: Wire):
    wire.writer.write(request("fault-slow-0.2", stream=True))
    began = asyncio.get_running_loop().time()
    await wire.head()
    headers_after = asyncio.get_running_loop().time() - began
    _, terminated = await wire.chunks()
    assert terminated
    assert headers_after < 0.15 < 0.2 <= asyncio.get_running_loop().time() - began + 0.01


async def test_a_malformed_event_and_a_missing_done(wire: Wire):
    events, _ = await streamed(wire, "fault-malformed-2")
    assert [position for position, event in enumerate(events) if b"not json" in event] == [2]
    events, terminated = await streamed(wire, "fault-no-done")
    assert terminated
    assert b'"finish_reason":"stop"' in events[-1]


async def test_an_unfinished_reply_keeps_its_reason_null(wire: Wire):
    events, _ = await streamed(wire, "fault-no-finish")
    assert b'"finish_reason":"' not in b"".join(events)
    wire.writer.write(request("fault-no-finish"))
    _, headers = await wire.head()
    body = json.loads(await wire.reader.readexactly(int(headers["content-length"])))
    assert body["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "content_type", "begins"),
    [
        ("fault-error-body", "application/json", b'{"error"'),
        ("fault-html", "text/html; charset=utf-8", b"<!DOCTYPE html>"),
        ("fault-empty", "application/json", b""),
    ],
)
async def test_a_false_200_comes_whole_even_for_a_stream(
    wire: Wire, stream: bool, model: str, content_type: str, begins: bytes
):
    wire.writer.write(request(model, stream=stream, extra="connection: close\r\n"))
    status, headers = await wire.head()
    body = await wire.rest()
    assert (status, headers["content-type"]) == (200, content_type)
    assert body.startswith(begins)
    assert len(body) == int(headers["content-length"])


@pytest.mark.parametrize("stream", [False, True])
async def test_the_wrong_content_type_keeps_the_right_body(wire: Wire, stream: bool):
    wire.writer.write(request("fault-content-type", stream=stream))
    status, headers = await wire.head()
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 418])
async def test_a_status_comes_with_an_error_body(wire: Wire, status: int):
    wire.writer.write(request(f"fault-{status}", extra="connection: close\r\n"))
    got, headers = await wire.head()
    assert got == status
    assert "error" in json.loads(await wire.rest())
    assert "retry-after" not in headers


async def test_an_error_in_the_stream_reaches_the_sdk(client: AsyncOpenAI):
    stream = await client.chat.completions.create(model="fault-error-event-2", messages=ASKED, stream=True)
    seen = [await anext(stream), await anext(stream)]
    assert all(chunk.choices for chunk in seen)
    with pytest.raises(APIError):
        await anext(stream)


async def test_the_sdk_takes_an_abort_for_what_it_is(client: AsyncOpenAI):
    stream = await client.chat.completions.create(model="fault-cut-2-abort", messages=ASKED, stream=True)
    with pytest.raises(APIConnectionError):
        [chunk async for chunk in stream]


async def test_pipelined_requests_are_answered_in_order(wire: Wire, sim: Simulator):
    wire.writer.write(
        request("sim-a") + request("sim-b", stream=True) + request("sim-c", extra="connection: close\r\n")
    )
    everything = await wire.rest()
    assert [everything.index(name) for name in (b'"sim-a"', b'"sim-b"', b'"sim-c"')] == sorted(
        everything.index(name) for name in (b'"sim-a"', b'"sim-b"', b'"sim-c"')
    )
    assert everything.count(b"HTTP/1.1 200 OK") == 3
    assert len(sim.calls) == 3


async def test_a_request_may_come_byte_by_byte_and_in_chunks(wire: Wire):
    body = json.dumps({"model": "gpt-4o", "messages": ASKED}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n"
    sent = head + b"connection: close\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for position in range(len(sent)):
        wire.writer.write(sent[position : position + 1])
        if position % 16 == 0:
            await asyncio.sleep(0)
    status, _ = await wire.head()
    assert (status, b'"finish_reason":"stop"' in await wire.rest()) == (200, True)


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection(wire: Wire):
    wire.writer.write(request("gpt-4o", stream=True).replace(b"HTTP/1.1", b"HTTP/1.0"))
    _, headers = await wire.head()
    assert "transfer-encoding" not in headers
    assert (await wire.rest()).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("HEAD", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/elsewhere", 404),
        ("PATCH", "/_sim/calls", 405),
    ],
)
async def test_wrong_paths_and_methods_get_json_errors(wire: Wire, method: str, path: str, status: int):
    wire.writer.write(request("gpt-4o", method=method, path=path, extra="connection: close\r\n"))
    got, headers = await wire.head()
    body = await wire.rest()
    assert (got, headers["content-type"]) == (status, "application/json")
    assert body == b"" if method == "HEAD" else "error" in json.loads(body)


@pytest.mark.parametrize(
    "rubbish", [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000 + b"\r\n\r\n"]
)
async def test_what_is_not_http_is_refused_and_closed(wire: Wire, rubbish: bytes):
    wire.writer.write(rubbish)
    status, _ = await wire.head()
    assert status in (400, 431)
    await wire.rest()


async def test_broken_json_is_refused_as_openai_does(wire: Wire):
    wire.writer.write(
        b'POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: 4\r\n\r\n{"a\xff'
    )
    status, _ = await wire.head()
    assert (status, b"could not parse the JSON body" in await wire.rest()) == (400, True)


async def test_an_error_in_a_typed_stream_is_a_typed_event(client: AsyncOpenAI):
    stream = await client.responses.create(model="fault-error-event-2", input="Where is it?", stream=True)
    assert [event.type for event in [event async for event in stream]][2:] == ["error"]
