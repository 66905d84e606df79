"""A stream put together is the whole answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.call import Operation
from stanchion.core.errors import UpstreamError
from stanchion.wire.answers import read_whole
from stanchion.wire.assemble import assemble


def event(*choices: dict[str, Any], **more: Any) -> bytes:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return json.dumps({**head, "choices": list(choices), **more}).encode()


def put_together(*events: bytes) -> dict[str, Any]:
    return json.loads(assemble(events))


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "logprobs": None, "finish_reason": finish}


texts = st.lists(st.text(max_size=4), max_size=4)


@given(
    st.lists(st.tuples(texts, st.lists(texts, max_size=2)), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
)
def test_any_stream_is_its_whole_answer(answers: list[tuple[list[str], list[list[str]]]], random) -> None:
    queues: list[list[dict[str, Any]]] = []
    for index, (content, tools) in enumerate(answers):
        queue = [delta(index, role="assistant", content="")]
        queue += [delta(index, content=text) for text in content]
        for number, arguments in enumerate(tools):
            begin = {"index": number, "id": f"call_{number}", "type": "function"}
            queue.append(delta(index, tool_calls=[{**begin, "function": {"name": "f", "arguments": ""}}]))
            queue += [
                delta(index, tool_calls=[{"index": number, "function": {"arguments": text}}])
                for text in arguments
            ]
        queues.append([*queue, delta(index, finish="stop")])
    events = []
    while any(queues):
        events.append(event(random.choice([queue for queue in queues if queue]).pop(0)))
    whole = put_together(*events, event(usage={"prompt_tokens": 1, "completion_tokens": 2}))
    assert whole["object"] == "chat.completion"
    assert (whole["id"], whole["model"], whole["usage"]["prompt_tokens"]) == ("c", "m", 1)
    for index, (content, tools) in enumerate(answers):
        choice = whole["choices"][index]
        assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (index, "stop", None)
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["content"] == "".join(content)
        assert choice["message"].get("tool_calls", []) == [
            {
                "id": f"call_{n}",
                "type": "function",
                "function": {"name": "f", "arguments": "".join(arguments)},
            }
            for n, arguments in enumerate(tools)
        ]


def test_tokens_probabilities_are_joined_also_after_an_event_without_any() -> None:
    def logprobs(*tokens: str) -> dict[str, Any]:
        content = [{"token": token, "logprob": -0.5} for token in tokens]
        return {
            "index": 0,
            "delta": {"content": "".join(tokens)},
            "logprobs": {"content": content, "refusal": None},
        }

    end = {"index": 0, "delta": {}, "logprobs": {"content": [], "refusal": None}, "finish_reason": "stop"}
    last = {"index": 0, "delta": {}, "logprobs": {"content": None}, "finish_reason": None}
    whole = put_together(
        event(delta(role="assistant")),
        event(logprobs("a", "b")),
        event(logprobs("c")),
        event(end),
        event(last),
    )
    assert [each["token"] for each in whole["choices"][0]["logprobs"]["content"]] == ["a", "b", "c"]
    assert whole["choices"][0]["finish_reason"] == "stop"


def test_tool_calls_are_told_apart_by_their_numbers_wherever_these_begin() -> None:
    def tool(number: int, arguments: str, **more: Any) -> bytes:
        return event(delta(tool_calls=[{"index": number, **more, "function": {"arguments": arguments}}]))

    whole = put_together(tool(1, "{", id="a"), tool(1, "}"), tool(5, "[", id="b"), tool(1, " "), tool(5, "]"))
    assert whole["choices"][0]["message"]["tool_calls"] == [
        {"id": "a", "function": {"arguments": "{} "}},
        {"id": "b", "function": {"arguments": "[]"}},
    ]


def test_tool_calls_without_numbers_are_whole_each() -> None:
    one, two = ({"id": each, "function": {"name": each, "arguments": "{}"}} for each in "ab")
    whole = put_together(event(delta(tool_calls=[one])), event(delta(tool_calls=[two])))
    assert whole["choices"][0]["message"]["tool_calls"] == [one, two]


def test_texts_grow_and_what_nobody_knows_survives() -> None:
    whole = put_together(
        event(
            delta(role="assistant", reasoning_content="th"), system_fingerprint="f", service_tier="default"
        ),
        event(delta(reasoning_content="ink", reasoning="a")),
        event(delta(reasoning="b", content="x", audio={"id": "au", "transcript": "he"})),
        event(delta(content=None, audio={"transcript": "llo"}, tomorrow={"deep": {"a": 1}})),
        event(delta(tomorrow={"deep": {"b": 2}}, annotations=[{"type": "url"}])),
        event(
            {**delta(finish="length"), "content_filter_results": {"hate": {"filtered": False}}},
            obfuscation="x",
        ),
    )
    choice, message = whole["choices"][0], whole["choices"][0]["message"]
    assert (message["reasoning_content"], message["reasoning"], message["content"]) == ("think", "ab", "x")
    assert message["audio"] == {"id": "au", "transcript": "hello"}
    assert message["tomorrow"] == {"deep": {"a": 1, "b": 2}}
    assert message["annotations"] == [{"type": "url"}]
    assert (choice["finish_reason"], choice["content_filter_results"]) == (
        "length",
        {"hate": {"filtered": False}},
    )
    assert (whole["system_fingerprint"], whole["service_tier"]) == ("f", "default")


def test_a_usage_that_every_event_repeats_is_the_last_one() -> None:
    whole = put_together(
        event(delta(content="a"), usage={"prompt_tokens": 1}),
        event(usage={"prompt_tokens": 9}),
        event(usage=None),
    )
    assert whole["usage"] == {"prompt_tokens": 9}


def test_an_answer_without_an_end_is_not_accepted_as_whole() -> None:
    with pytest.raises(UpstreamError):
        read_whole(Operation.CHAT)(assemble([event(delta(content="half"))]))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "index", "content", "tool_calls", "logprobs", "function"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(st.lists(values, max_size=4))
def test_odd_events_do_no_harm(events: list[object]) -> None:
    whole = json.loads(assemble(json.dumps(each).encode() for each in events))
    assert whole["object"] == "chat.completion"
