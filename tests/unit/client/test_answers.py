"""What an answer says of itself, decoded when somebody looks; and that its repr says nothing of the content."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from stanchion.client.answers import ChatReply, EmbeddingReply, Facts, ResponseReply
from stanchion.client.choice import ToolCall, read_tool_calls
from stanchion.client.cost import Prices
from stanchion.client.stream import Delta
from stanchion.core.chunk import Event
from stanchion.core.errors import Unusable
from stanchion.core.reply import Head
from stanchion.core.trail import Trail
from stanchion.core.usage import Usage
from stanchion.engine.settings import PriceSettings

SECRET_WORD = "ultramarine"
HEAD = Head(endpoint="openai/gpt-4o#kf_1", model="gpt-4o", headers={"x-request-id": "req_1"})
PRICES = Prices({"gpt-4o": PriceSettings(input=2.5, output=10, input_cached=1.25)})


def facts(usage: Usage | None = None, prices: Prices = PRICES) -> Facts:
    return Facts(HEAD, usage, Trail(), prices, 10.0, 10.5, 12.0)


def chat(message: Mapping[str, Any], **event) -> ChatReply:
    raw = msgspec.json.encode({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    return ChatReply(raw, Event(data=raw, text=message.get("content") or "", **event), facts())


def test_times_are_durations_from_the_calls_start():
    timing = chat({"content": "Hi"}).timing
    assert (timing.first_chunk_s, timing.total_s) == (0.5, 2.0)


def test_a_message_can_be_sent_back_as_it_came():
    message = {"role": "assistant", "content": "Hi", "brand_new": {"a": 1}}
    assert chat(message).message == message


def test_function_and_custom_tools_are_read():
    calls = read_tool_calls(
        {
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "b", "type": "custom", "custom": {"name": "g", "input": "free text"}},
            ]
        }
    )
    assert [(call.id, call.name, call.arguments, call.index) for call in calls] == [
        ("a", "f", '{"x":1}', 0),
        ("b", "g", "free text", 1),
    ]
    assert calls[0].parsed(dict) == {"x": 1}


@dataclass
class Point:
    x: int


class Place(BaseModel):
    x: int


@pytest.mark.parametrize("kind", [Point, Place])
def test_text_is_read_as_a_type(kind: type):
    assert chat({"content": '{"x": 1}'}).parsed(kind) == kind(x=1)


@pytest.mark.parametrize("kind", [Point, Place])
@pytest.mark.parametrize("text", [f'{{"x": "{SECRET_WORD}"}}', f'{{"x": "{SECRET_WORD}'])
def test_text_of_another_shape_is_an_error_that_does_not_repeat_it(kind: type, text: str):
    with pytest.raises(Unusable) as caught:
        chat({"content": text}).parsed(kind)
    assert SECRET_WORD not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_refusal_is_told():
    reply = chat({"content": None, "refusal": "I can't help with that."})
    assert (reply.text, reply.refusal) == ("", "I can't help with that.")


def test_base64_vectors_are_little_endian_floats():
    packed = base64.b64encode(struct.pack("<3f", 0.5, -1.0, 2.0)).decode()
    raw = msgspec.json.encode({"data": [{"embedding": packed}, {"embedding": [1.0, 2.0]}]})
    reply = EmbeddingReply(raw, Event(data=raw), facts())
    assert [list(vector) for vector in reply.vectors] == [[0.5, -1.0, 2.0], [1.0, 2.0]]
    assert list(reply.vector) == [0.5, -1.0, 2.0]


def test_a_response_calls_tools():
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    raw = msgspec.json.encode({"output": [{"type": "reasoning"}, item], "status": "completed"})
    reply = ResponseReply(raw, Event(data=raw, finish_reason="completed"), facts())
    assert [(call.id, call.name) for call in reply.tool_calls] == [("c", "f")]


def test_the_cost_is_exact_and_none_where_it_is_not_known():
    usage = Usage(input=1000, input_cached=400, output=100)
    raw = b"{}"
    assert ChatReply(raw, Event(), facts(usage)).cost == Decimal("0.004")
    assert ChatReply(raw, Event(), facts(None)).cost is None
    assert ChatReply(raw, Event(), facts(usage, Prices({}))).cost is None


def test_a_price_of_one_provider_comes_before_that_of_the_model():
    prices = Prices(
        {
            "gpt-4o": PriceSettings(input=2.5, output=10),
            "openai/gpt-4o": PriceSettings(input=1, output=1),
        }
    )
    assert ChatReply(b"{}", Event(), facts(Usage(input=1_000_000), prices)).cost == Decimal(1)


def test_a_price_may_stand_under_the_name_that_the_provider_says():
    prices = Prices({"gpt-4o-2024-08-06": PriceSettings(input=3, output=1)})
    reply = ChatReply(b"{}", Event(model="gpt-4o-2024-08-06"), facts(Usage(input=1_000_000), prices))
    assert reply.cost == Decimal(3)


def test_no_repr_shows_content():
    reply = chat(
        {"content": SECRET_WORD, "tool_calls": [{"function": {"name": "f", "arguments": SECRET_WORD}}]}
    )
    event = Event(data=SECRET_WORD.encode(), text=SECRET_WORD)
    shown = [reply, reply.choices, reply.tool_calls, Delta(event), ToolCall("a", "f", SECRET_WORD)]
    assert [repr(each) for each in shown if SECRET_WORD in repr(each)] == []


def test_a_delta_without_tools_has_none():
    data = b'{"choices":[{"index":0,"delta":{"content":"Hi"}}]}'
    assert Delta(Event(data=data)).tool_calls == []
    assert Delta(Event(data=b'{"choices":[],"note":"\\"tool_calls\\""}')).tool_calls == []
