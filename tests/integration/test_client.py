"""The async client against a simulated provider: answers, streams, options of a call, ends, leaks, keys."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import traceback
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stanchion import (
    AsyncClient,
    Cut,
    DeadlineExceeded,
    InvalidCall,
    KeyReused,
    Refused,
    RetryOptions,
    StanchionError,
    Unusable,
    UpstreamError,
)
from stanchion.simulator import Simulator, SimulatorOptions, Timing

ASKED = [{"role": "user", "content": "Where is my order 20261123?"}]
KEY = "sk-canary-5b1e7d0c9a"
FAST = {"retry.base_s": 0.001, "retry.budget_floor": 1000, "health.failures": 1000}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url=sim.base_url, api_key=KEY, settings=FAST) as made:
        yield made


async def settled(condition, within_s: float = 2.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the other end of a socket tells nobody
            await asyncio.sleep(0.005)


async def read_all(stream) -> None:
    async for _ in stream:
        pass


# --- answers -----------------------------------------------------------------------------------------


async def test_a_text_is_one_message_of_the_user(client: AsyncClient):
    asked = await client.chat("Where is my order 20261123?", model="gpt-4o")
    written = await client.chat(ASKED, model="gpt-4o")
    assert asked.text == written.text != ""


async def test_a_whole_answer_tells_all_about_itself(client: AsyncClient):
    reply = await client.chat(ASKED, model="gpt-4o", temperature=0.2)
    assert reply.finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.data == msgspec.json.decode(reply.raw)
    assert (reply.model, reply.endpoint) == ("gpt-4o", "openai/gpt-4o")
    assert [attempt.outcome for attempt in reply.attempts] == ["completed"]
    assert reply.timing.first_chunk_s is not None
    assert 0 < reply.timing.first_chunk_s <= reply.timing.total_s
    assert reply.request_id is not None
    assert reply.request_id.startswith("req_")
    assert reply.choices[0].message["role"] == "assistant"


async def test_a_stream_says_what_the_whole_answer_says(client: AsyncClient):
    whole = await client.chat(ASKED, model="gpt-4o")
    async with client.stream(ASKED, model="gpt-4o") as stream:
        text = "".join([delta.text async for delta in stream])
    assert text == stream.text == stream.reply().text == whole.text
    assert stream.usage == stream.reply().usage == whole.usage
    assert stream.finish_reason == "stop"
    assert stream.complete
    assert stream.timing.first_chunk_s is not None
    assert stream.timing.first_chunk_s <= stream.timing.total_s
    assert [attempt.outcome for attempt in stream.attempts] == ["completed"]


async def test_a_stream_can_be_read_without_entering_it(client: AsyncClient):
    stream = client.stream(ASKED, model="gpt-4o")
    deltas = [delta async for delta in stream]
    assert "".join([delta.text for delta in deltas]) == stream.reply().text
    assert deltas[-1].data["choices"][0]["finish_reason"] == deltas[-1].finish_reason == "stop"


async def test_several_answers_are_all_there(client: AsyncClient):
    whole = await client.chat(ASKED, model="gpt-4o", n=3)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    async with client.stream(ASKED, model="gpt-4o", n=3) as stream:
        async for _ in stream:
            pass
    assert [each.text for each in stream.reply().choices] == [each.text for each in whole.choices]


TOOL = {
    "type": "function",
    "function": {
        "name": "find_order",
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "string"}},
            "required": ["number"],
            "additionalProperties": False,
        },
    },
}


async def test_tools_are_called_whole_and_streamed(client: AsyncClient):
    asked: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required"}
    whole = await client.chat(ASKED, model="gpt-4o", **asked)
    (call,) = whole.tool_calls
    assert (call.name, list(call.parsed(dict))) == ("find_order", ["number"])
    async with client.stream(ASKED, model="gpt-4o", **asked) as stream:
        pieces = [piece async for delta in stream for piece in delta.tool_calls]
    assert "".join([piece.arguments for piece in pieces]) == call.arguments
    assert stream.reply().tool_calls[0].name == pieces[0].name == "find_order"
    assert stream.finish_reason == "tool_calls"


class Order(msgspec.Struct):
    number: str
    late: bool


async def test_a_structured_answer_is_read_as_a_type(client: AsyncClient):
    schema = {
        "type": "object",
        "properties": {"number": {"type": "string"}, "late": {"type": "boolean"}},
        "required": ["number", "late"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "order", "schema": schema, "strict": True}}
    reply = await client.chat(ASKED, model="gpt-4o", response_format=wanted)
    assert isinstance(reply.parsed(Order).number, str)
    with pytest.raises(Unusable, match="cannot be read as int"):
        reply.parsed(int)


async def test_embeddings_come_as_numbers_in_either_encoding(client: AsyncClient):
    plain = await client.embed(["one", "two"], model="text-embedding-3-small", dimensions=8)
    packed = await client.embed(
        ["one", "two"], model="text-embedding-3-small", dimensions=8, encoding_format="base64"
    )
    assert len(plain.vectors) == 2
    assert list(packed.vector) == pytest.approx(list(plain.vector), abs=1e-6)


async def test_the_responses_api_answers_whole_and_streamed(client: AsyncClient):
    whole = await client.responses("Where is my order?", model="gpt-4o")
    async with client.stream_responses("Where is my order?", model="gpt-4o") as stream:
        names = [delta.name async for delta in stream]
    assert names[-1] == "response.completed"
    assert stream.text == stream.reply().text == whole.text != ""
    assert whole.status == stream.reply().status == "completed"


async def test_models_are_listed(client: AsyncClient):
    assert "gpt-4o" in [model.id for model in await client.models()]


async def test_what_nobody_here_knows_reaches_the_provider(sim: Simulator, client: AsyncClient):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    reply = await client.chat(
        [{"role": "user", "content": parts}], model="gpt-4o", logprobs=True, brand_new={"a": 1}
    )
    assert reply.choices[0].data["logprobs"] is not None


async def test_extra_headers_reach_the_provider(sim: Simulator, client: AsyncClient):
    await client.chat(ASKED, model="gpt-4o", headers={"x-client-request-id": "mine"})
    assert sim.calls[-1].headers["x-client-request-id"] == "mine"
    with pytest.raises(InvalidCall, match="must not name the key"):
        await client.chat(ASKED, model="gpt-4o", headers={"Authorization": "Bearer other"})


async def test_the_cost_is_known_where_the_price_is(sim: Simulator, tmp_path: Path):
    file = tmp_path / "stanchion.toml"
    file.write_text('[prices."gpt-4o"]\ninput = 2.5\noutput = 10.0\n')
    async with AsyncClient(file, base_url=sim.base_url) as client:
        reply = await client.chat(ASKED, model="gpt-4o")
        other = await client.chat(ASKED, model="gpt-4o-mini")
        async with client.stream(ASKED, model="gpt-4o") as stream:
            async for _ in stream:
                pass
    assert reply.usage is not None
    micro = round(reply.usage.prompt_tokens * 2.5 + reply.usage.completion_tokens * 10)
    assert reply.cost == stream.cost == Decimal(micro) / 1_000_000
    assert other.cost is None


# --- what one call says over the settings ------------------------------------------------------------


async def test_a_deadline_ends_a_call_that_is_not_answered(sim: Simulator, client: AsyncClient):
    sim.faults.set(["silence"])
    with pytest.raises(DeadlineExceeded):
        await client.chat(ASKED, model="gpt-4o", deadline_s=0.1)
    await settled(lambda: sim.running_calls == 0)
    with pytest.raises(InvalidCall):
        await client.chat(ASKED, model="gpt-4o", deadline_s=0)


async def test_a_call_may_forbid_to_be_tried_again(sim: Simulator, client: AsyncClient):
    sim.faults.set(["503"])
    with pytest.raises(Refused):
        await client.chat(ASKED, model="gpt-4o", retry=RetryOptions(attempts=1))
    sim.faults.set(["503", "503"])
    reply = await client.chat(ASKED, model="gpt-4o")
    assert [attempt.status for attempt in reply.attempts] == [503, 503, 200]


async def test_a_key_gives_the_same_answer_again_from_one_call(sim: Simulator, client: AsyncClient):
    first = await client.chat(ASKED, model="gpt-4o", idempotency_key="order-1")
    again = await client.chat(ASKED, model="gpt-4o", idempotency_key="order-1")
    assert first.raw == again.raw
    assert len(sim.calls) == 1
    with pytest.raises(KeyReused):
        await client.chat("Something else", model="gpt-4o", idempotency_key="order-1")


async def test_a_whole_call_asks_for_no_stream(client: AsyncClient):
    with pytest.raises(InvalidCall, match="stream"):
        await client.chat(ASKED, model="gpt-4o", stream=True)


@pytest.mark.parametrize("unwritable", [object(), "\ud800"])
async def test_what_cannot_be_written_is_the_callers_fault(client: AsyncClient, unwritable: object):
    with pytest.raises(InvalidCall):
        await client.chat(ASKED, model="gpt-4o", user=unwritable)


# --- ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    ["cut:3", "cut:3,end=abort", "cut:3,end=reset", "stall:3", "malformed:3", "error_event:3", "no_done"],
)
async def test_a_cut_stream_is_never_a_success(fault: str):
    slow = Timing(tokens_per_s=200.0)
    async with (
        Simulator(
            SimulatorOptions(timing=slow, faults=(f"{fault}{',' if ':' in fault else ':'}times=0",))
        ) as sim,
        AsyncClient(base_url=sim.base_url, settings={**FAST, "attempt_timeout.stall_s": 0.3}) as client,
    ):
        stream = client.stream("Hello", model="gpt-4o", resume="error")
        with pytest.raises(UpstreamError) as caught:
            async for _ in stream:
                pass
        assert not stream.complete
        if isinstance(caught.value, Cut):
            assert caught.value.partial == stream.text
        with pytest.raises(InvalidCall, match="not complete"):
            stream.reply()


async def test_a_cut_stream_goes_on_where_it_can_be_verified(sim: Simulator, client: AsyncClient):
    whole = await client.chat(ASKED, model="gpt-4o")
    sim.faults.set(["cut:5,end=abort"])
    async with client.stream(ASKED, model="gpt-4o", resume="verify") as stream:
        async for _ in stream:
            pass
    assert stream.text == whole.text
    assert len(stream.attempts) == 2


@pytest.mark.parametrize("way", ["break", "enter", "cancel"])
async def test_whoever_leaves_a_stream_ends_it_at_the_provider(way: str):
    slow = Timing(tokens_per_s=20.0)
    async with (
        Simulator(SimulatorOptions(timing=slow)) as sim,
        AsyncClient(base_url=sim.base_url) as client,
    ):
        if way == "break":
            async for _ in client.stream(ASKED, model="gpt-4o"):
                break
        elif way == "enter":
            async with client.stream(ASKED, model="gpt-4o") as stream:
                await anext(stream)
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read_all(client.stream(ASKED, model="gpt-4o")), 0.2)
        await settled(lambda: sim.open_streams == 0 and sim.running_calls == 0, within_s=0.5)
        await settled(lambda: sim.open_connections == 0)


async def test_many_cancelled_calls_leave_nothing(sim: Simulator, client: AsyncClient):
    sim.faults.set(["silence,times=0"])
    for _ in range(5):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.chat(ASKED, model="gpt-4o")) for _ in range(20)]
            await settled(lambda: sim.running_calls == 20, within_s=10)
            for task in tasks:
                task.cancel()
        await settled(lambda: sim.running_calls == 0)
    assert (await client.engine()).open_connections == 0


async def test_a_closed_client_opens_again(sim: Simulator):
    client = AsyncClient(base_url=sim.base_url)
    for _ in range(2):
        assert (await client.chat(ASKED, model="gpt-4o")).text
        await client.aclose()
        await settled(lambda: sim.open_connections == 0)
    await client.aclose()


async def test_calls_at_once_share_one_engine(sim: Simulator):
    client = AsyncClient(base_url=sim.base_url)
    async with client, asyncio.TaskGroup() as group:
        engines = [group.create_task(client.engine()) for _ in range(10)]
    assert len({id(task.result()) for task in engines}) == 1


# --- keys --------------------------------------------------------------------------------------------


async def test_a_key_is_shown_nowhere(sim: Simulator, client: AsyncClient, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    seen = [repr(client), repr(vars(client))]
    reply = await client.chat(ASKED, model="gpt-4o")
    stream = client.stream(ASKED, model="gpt-4o")
    seen += [repr(reply), repr(stream), repr(reply.attempts), repr([delta async for delta in stream])]
    for fault in ("echo_key", "reset", "html", "error_body", "503", "cut:1,end=abort"):
        sim.faults.set([f"{fault}{',' if ':' in fault else ':'}times=0"])
        with pytest.raises(StanchionError) as caught:
            await client.chat(ASKED, model="gpt-4o", retry=RetryOptions(attempts=1))
        error = caught.value
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        seen += [str(error), repr(error), repr(vars(error)), "".join(told.format()), str(pickle.dumps(error))]
    with pytest.raises(TypeError):
        pickle.dumps(client)
    seen.append(caplog.text)
    assert [text for text in seen if KEY in text] == []
    gc.collect()
