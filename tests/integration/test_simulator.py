"""The simulator on a real socket, as the official SDK sees it."""

# The SDK's types ask for a typed dict per message and leave every reply optional; asserts judge both here.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportOptionalIterable=false, reportAttributeAccessIssue=false, reportCallIssue=false

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest
from openai import (
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    OpenAI,
    RateLimitError,
)
from pydantic import BaseModel

from stanchion.simulator import Limits, Simulator, SimulatorOptions
from tests.integration.raw_http import ASKED


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


async def test_whole_and_streamed_replies_say_the_same(client: AsyncOpenAI, sim: Simulator):
    whole = await client.chat.completions.create(model="gpt-4o", messages=ASKED)
    text, usage = "", None
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    for chunk in chunks:
        if chunk.choices:
            assert chunk.usage is None
            text += chunk.choices[0].delta.content or ""
        else:
            usage = chunk.usage
    assert text == whole.choices[0].message.content
    assert usage == whole.usage
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert [call.completed for call in sim.calls] == [True, True]
    assert sim.calls[1].events_sent == len(chunks)


async def test_a_stream_without_the_option_has_no_usage(client: AsyncOpenAI):
    stream = await client.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in [chunk async for chunk in stream])


def test_the_sync_client_works_too():
    started, stop = threading.Event(), threading.Event()
    found: list[str] = []

    async def serve() -> None:
        async with Simulator() as running:
            found.append(running.base_url)
            started.set()
            await asyncio.to_thread(stop.wait, 10)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(5)
        with OpenAI(base_url=found[0], api_key="sk", max_retries=0) as made:
            whole = made.chat.completions.create(model="gpt-4o", messages=ASKED)
            parts = made.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True)
            text = "".join(part.choices[0].delta.content or "" for part in parts)
        assert text == whole.choices[0].message.content
    finally:
        stop.set()
        thread.join(5)


async def test_a_tool_is_called_whole_and_in_pieces(client: AsyncOpenAI):
    tool = {
        "type": "function",
        "function": {
            "name": "track_order",
            "parameters": {
                "type": "object",
                "properties": {"order": {"type": "string"}},
                "required": ["order"],
            },
        },
    }
    asked = [{"role": "user", "content": "please track order 5"}]
    whole = await client.chat.completions.create(model="gpt-4o", messages=asked, tools=[tool])
    call = whole.choices[0].message.tool_calls[0]
    assert whole.choices[0].finish_reason == "tool_calls"
    assert isinstance(json.loads(call.function.arguments)["order"], str)
    async with client.chat.completions.stream(model="gpt-4o", messages=asked, tools=[tool]) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == call.function.arguments


class Ticket(BaseModel):
    subject: str
    priority: int
    tags: list[str]
    parent: Ticket | None


async def test_structured_outputs_are_parsed(client: AsyncOpenAI):
    done = await client.chat.completions.parse(model="gpt-4o", messages=ASKED, response_format=Ticket)
    assert isinstance(done.choices[0].message.parsed, Ticket)
    answer = await client.responses.parse(model="gpt-4o", input="Make a ticket", text_format=Ticket)
    assert isinstance(answer.output_parsed, Ticket)


async def test_the_responses_api_streams_typed_events(client: AsyncOpenAI):
    whole = await client.responses.create(model="gpt-4o", input="Where is my order?", instructions="Be kind.")
    stream = await client.responses.create(
        model="gpt-4o", input="Where is my order?", instructions="Be kind.", stream=True
    )
    events = [event async for event in stream]
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    short = await client.responses.create(model="gpt-4o", input="Where is my order?", max_output_tokens=3)
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_a_function_is_called_through_the_responses_api(client: AsyncOpenAI):
    tool = {"type": "function", "name": "track_order", "parameters": {"type": "object", "properties": {}}}
    async with client.responses.stream(model="gpt-4o", input="track order", tools=[tool]) as stream:
        final = await stream.get_final_response()
    assert [item.type for item in final.output] == ["function_call"]


async def test_embeddings_are_of_length_one_and_like_texts_are_near(client: AsyncOpenAI):
    made = await client.embeddings.create(
        model="text-embedding-3-small",
        input=["where is my order", "where is my parcel", "cancel it"],
        dimensions=64,
    )
    first, second, third = [item.embedding for item in made.data]

    def dot(left: list[float], right: list[float]) -> float:
        return sum(a * b for a, b in zip(left, right, strict=True))

    assert len(first) == 64
    assert dot(first, first) == pytest.approx(1, abs=1e-5)
    assert dot(first, second) > dot(first, third)
    plain = await client.embeddings.create(
        model="text-embedding-3-small", input="where is my order", dimensions=64, encoding_format="float"
    )
    assert plain.data[0].embedding == pytest.approx(first, abs=1e-6)


async def test_the_smaller_endpoints_answer(client: AsyncOpenAI):
    assert (await client.moderations.create(input="I will build a bomb")).results[0].flagged
    assert not (await client.moderations.create(input="hello")).results[0].flagged
    assert "gpt-4o" in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("gpt-4o")).id == "gpt-4o"
    with pytest.raises(NotFoundError):
        await client.models.retrieve("gpt-99")
    old = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Where is my order?", n=2)
    assert [choice.finish_reason for choice in old.choices] == ["length", "length"]
    assert old.usage.completion_tokens == 32
    parts = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Hi", stream=True)
    assert [part async for part in parts][-1].choices[0].finish_reason == "stop"


async def test_logprobs_pictures_and_unknown_fields_are_taken(client: AsyncOpenAI):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    done = await client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": content}],
        logprobs=True,
        top_logprobs=2,
        extra_body={"from_the_future": {"x": 1}},
    )
    logprobs = done.choices[0].logprobs.content
    assert "".join(item.token for item in logprobs) == done.choices[0].message.content
    assert all(len(item.top_logprobs) == 2 for item in logprobs)
    assert done.usage.prompt_tokens > 2 * 765


async def test_headers_carry_the_quota_and_the_request_id(sim: Simulator, client: AsyncOpenAI):
    raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASKED)
    assert raw.headers["x-request-id"] == sim.calls[-1].request_id
    assert raw.headers["openai-version"] == "2020-10-01"
    assert raw.headers["x-ratelimit-limit-requests"] == "10000000"
    assert {"openai-processing-ms", "openai-organization", "x-ratelimit-reset-tokens"} <= set(raw.headers)


async def test_beyond_the_quota_openais_refusal_comes():
    async with (
        Simulator(SimulatorOptions(limits=Limits(rpm=1))) as sim,
        AsyncOpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client,
    ):
        await client.chat.completions.create(model="gpt-4o", messages=ASKED)
        with pytest.raises(RateLimitError) as caught:
            await client.chat.completions.create(model="gpt-4o", messages=ASKED)
        await client.chat.completions.create(model="gpt-4o-mini", messages=ASKED)
    assert caught.value.code == "rate_limit_exceeded"
    assert "on requests per min (RPM): Limit 1, Used 1, Requested 1. Please try again in" in str(caught.value)
    assert int(caught.value.response.headers["retry-after"]) == 60
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"


async def test_keys_are_checked_when_they_are_given():
    async with (
        Simulator(SimulatorOptions(keys=("sk-right",))) as sim,
        AsyncOpenAI(base_url=sim.base_url, api_key="sk-wrong-and-long", max_retries=0) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            await client.chat.completions.create(model="gpt-4o", messages=ASKED)
        assert "wrong-and" not in str(caught.value)
        await client.with_options(api_key="sk-right").chat.completions.create(model="gpt-4o", messages=ASKED)


async def test_bad_requests_are_told_apart(client: AsyncOpenAI):
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(model="gpt-4o", messages=[])
    assert caught.value.param == "messages"
    with pytest.raises(BadRequestError, match="messages"):
        await client.post("/chat/completions", body={"model": "gpt-4o"}, cast_to=object)
    long = [{"role": "user", "content": "word " * 9000}]
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(model="gpt-4", messages=long)
    assert caught.value.code == "context_length_exceeded"


async def test_a_long_common_prefix_is_read_from_the_prompt_cache(client: AsyncOpenAI):
    system = {"role": "system", "content": "You are a patient assistant. " * 400}
    used = []
    for question in ("Where is it?", "And my refund?"):
        done = await client.chat.completions.create(
            model="gpt-4o", messages=[system, {"role": "user", "content": question}]
        )
        used.append(done.usage.prompt_tokens_details.cached_tokens)
    assert used[0] == 0
    assert used[1] >= 1024
    assert used[1] % 128 == 0
