"""What a type checker must know of the public surface.  Checked, never run."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import assert_type

import msgspec
from openai import AsyncOpenAI, OpenAI

from stanchion import (
    AsyncClient,
    Attempt,
    ChatReply,
    Choice,
    Client,
    Delta,
    EmbeddingReply,
    Map,
    Mapped,
    Model,
    ResponseReply,
    RetryOptions,
    Stream,
    SyncMap,
    SyncStream,
    ToolCall,
    Usage,
)


class Order(msgspec.Struct):
    number: str


async def asynchronous(client: AsyncClient) -> None:
    reply = await client.chat("Hello", model="gpt-4o", temperature=0.2, retry=RetryOptions(attempts=1))
    assert_type(reply, ChatReply)
    assert_type(reply.text, str)
    assert_type(reply.usage, Usage | None)
    assert_type(reply.cost, Decimal | None)
    assert_type(reply.attempts, Sequence[Attempt])
    assert_type(reply.choices, list[Choice])
    assert_type(reply.tool_calls, list[ToolCall])
    assert_type(reply.parsed(Order), Order)
    assert_type(reply.timing.total_s, float)
    async with client.stream([{"role": "user", "content": "Hello"}], model="gpt-4o") as stream:
        assert_type(stream, Stream[ChatReply])
        async for delta in stream:
            assert_type(delta, Delta)
            assert_type(delta.text, str)
    assert_type(stream.reply(), ChatReply)
    async for delta in client.stream("Hello", model="gpt-4o", resume="verify", deadline_s=5):
        assert_type(delta, Delta)
    assert_type(await client.embed(["a"], model="e"), EmbeddingReply)
    assert_type(await client.responses("a", model="m"), ResponseReply)
    assert_type(client.stream_responses("a", model="m"), Stream[ResponseReply])
    assert_type(await client.models(), list[Model])
    async with client.map([{"id": 1}], "Hello {{ id }}", model="m", order="completion") as results:
        assert_type(results, Map[dict[str, int]])
        async for result in results:
            assert_type(result, Mapped[dict[str, int]])
            assert_type(result.row, dict[str, int])
            assert_type(result.reply, ChatReply | None)
            assert_type(result.text, str)
            assert_type(result.parsed(Order), Order)
    assert_type(client.openai(), AsyncOpenAI)
    await client.chat("Hello", model=1)  # pyright: ignore[reportArgumentType]
    await client.chat("Hello")  # pyright: ignore[reportCallIssue]


def blocking(client: Client) -> None:
    reply = client.chat("Hello", model="gpt-4o", deadline_s=5, user="u")
    assert_type(reply, ChatReply)
    with client.stream("Hello", model="gpt-4o") as stream:
        assert_type(stream, SyncStream[ChatReply])
        for delta in stream:
            assert_type(delta, Delta)
    assert_type(stream.reply(), ChatReply)
    assert_type(stream.usage, Usage | None)
    assert_type(client.embed(["a"], model="e"), EmbeddingReply)
    assert_type(client.models(), list[Model])
    with client.map(["Hello"], model="m") as results:
        assert_type(results, SyncMap[str])
        for result in results:
            assert_type(result.row, str)
    assert_type(client.openai(), OpenAI)
    client.chat("Hello", model=1)  # pyright: ignore[reportArgumentType]
    client.chat("Hello")  # pyright: ignore[reportCallIssue]
