"""What a simulated model says."""

from __future__ import annotations

import pytest

from stanchion.simulator import reply, text
from stanchion.simulator.errors import ApiError
from stanchion.simulator.phrases import CHINESE, ENGLISH
from stanchion.simulator.shapes import ChatRequest, FunctionSpec, Message, Tool, ToolChoice


def asked(words: str, **more: object) -> ChatRequest:
    return ChatRequest(model="gpt-4o", messages=[Message(role="user", content=words)], **more)  # pyright: ignore[reportArgumentType]


def said(request: ChatRequest) -> str:
    return reply.choices(request, nondeterministic=False)[0].text


def test_the_same_request_gets_the_same_text_and_another_seed_another():
    words = "Where is my parcel? It should have come on Monday."
    assert said(asked(words)) == said(asked(words))
    assert len({said(asked(words, seed=seed)) for seed in range(8)}) > 4


def test_the_reply_quotes_the_question_and_numbers_its_steps():
    answer = said(asked("My refund of 47.11 has not arrived."))
    assert "My refund of 47.11 has not arrived." in answer
    assert "\n1. " in answer
    assert any(step in answer for step in ENGLISH.subjects[1].steps)


def test_the_reply_speaks_the_language_of_the_last_user_message():
    answer = said(asked("我的快递到哪里了？订单号 20261123"))
    assert "我的快递到哪里了？" in answer
    assert text.language_of(answer) is CHINESE
    assert text.language_of("Where is 我的 order, please tell me soon") is ENGLISH


def test_a_greeting_gets_a_greeting():
    assert said(asked("Hello!")) in ENGLISH.hello
    assert said(asked("你好")) in CHINESE.hello


def test_a_long_question_is_quoted_by_its_beginning_only():
    assert text.topic_of("word " * 100) == "word " * 15 + "word…"


def test_choices_differ_from_each_other():
    made = reply.choices(asked("Where is my order?", n=3), nondeterministic=False)
    assert [choice.index for choice in made] == [0, 1, 2]
    assert len({choice.text for choice in made}) > 1


@pytest.mark.parametrize("cap", ["max_tokens", "max_completion_tokens"])
def test_a_capped_reply_has_that_many_tokens_and_says_length(cap: str):
    choice = reply.choices(asked("Where is my order?", **{cap: 7}), nondeterministic=False)[0]
    assert (choice.finish_reason, choice.tokens, len(choice.pieces())) == ("length", 7, 7)


def test_a_stop_sequence_ends_the_reply_before_itself():
    whole = said(asked("Where is my order?"))
    cut = said(asked("Where is my order?", stop=["\n2."]))
    assert cut == whole[: whole.index("\n2.")]


def test_a_model_named_for_its_length_says_so_many_tokens():
    request = ChatRequest(model="sim-long-333", messages=[Message(role="user", content="go on")])
    choice = reply.choices(request, nondeterministic=False)[0]
    assert len(choice.pieces()) == 333
    assert choice.finish_reason == "stop"


def test_an_echo_says_what_it_heard_and_a_random_model_something_new():
    echo = ChatRequest(model="sim-echo", messages=[Message(role="user", content="a@b.c 你好")])
    assert said(echo) == "a@b.c 你好"
    wild = ChatRequest(model="sim-random", messages=[Message(role="user", content="Where is my order?")])
    assert len({said(wild) for _ in range(10)}) > 1


TOOLS = [
    Tool(
        function=FunctionSpec(
            name="get_weather",
            parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        )
    ),
    Tool(function=FunctionSpec(name="track_order")),
]


def called(request: ChatRequest) -> list[str]:
    choice = reply.choices(request, nondeterministic=False)[0]
    assert (choice.finish_reason == "tool_calls") == bool(choice.calls)
    return [call.name for call in choice.calls]


def test_tools_are_called_when_they_are_named_or_demanded():
    assert called(asked("Hello there, how are you?", tools=TOOLS)) == []
    assert called(asked("Please get weather for Rome", tools=TOOLS)) == ["get_weather"]
    assert called(asked("get_weather and track_order", tools=TOOLS)) == ["get_weather", "track_order"]
    both = asked("get_weather and track_order", tools=TOOLS, parallel_tool_calls=False)
    assert called(both) == ["get_weather"]
    assert called(asked("get_weather", tools=TOOLS, tool_choice="none")) == []
    assert called(asked("Hello", tools=TOOLS, tool_choice="required")) == ["get_weather"]
    assert called(asked("Hello", tools=TOOLS, tool_choice=ToolChoice(name="track_order"))) == ["track_order"]


def test_the_result_of_a_tool_is_told_and_not_asked_for_again():
    request = asked("Please get weather for Rome", tools=TOOLS)
    request.messages.append(Message(role="tool", content="21 degrees", tool_call_id="c"))
    assert called(request) == []
    assert "21 degrees" in said(request)


@pytest.mark.parametrize("more", [{"n": -1}, {"n": 200}, {"max_tokens": 0}, {"tool_choice": "required"}])
def test_what_openai_refuses_is_refused(more: dict[str, object]):
    with pytest.raises(ApiError) as caught:
        reply.check(asked("Hello", **more), 10, 128_000)
    assert caught.value.status == 400


def test_a_prompt_beyond_the_context_is_refused_by_its_code():
    with pytest.raises(ApiError) as caught:
        reply.check(asked("Hello"), 129_000, 128_000)
    assert b'"context_length_exceeded"' in caught.value.body
