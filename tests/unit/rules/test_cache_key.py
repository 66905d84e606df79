"""Which calls share an answer: what is covered by a key, and what asks for the same answer twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.call import Body, Call, Operation
from stanchion.core.errors import InvalidCall
from stanchion.rules.cache_key import cache_key, may_be_shared, repeatable

TARGETS = ("https://one.example/v1|m",)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["messages", "temperature", "tools", "n", "seed", "user", "max_tokens", "new_field"])
bodies = st.dictionaries(names, values, max_size=6)


def call(fields: dict[str, Any], operation: Operation = Operation.CHAT, **more: Any) -> Call:
    return Call(operation=operation, body=Body(fields), model=more.pop("model", "m"), **more)


def key(fields: dict[str, Any], targets: tuple[str, ...] = TARGETS, **more: Any) -> bytes:
    return cache_key(call(fields, **more), targets)


@given(bodies, st.randoms())
def test_the_order_of_the_outermost_fields_does_not_matter(fields: dict[str, Any], lots: Any) -> None:
    shuffled = list(fields.items())
    lots.shuffle(shuffled)
    assert key(dict(shuffled)) == key(fields)


@given(bodies, bodies)
def test_two_bodies_that_differ_in_any_field_have_two_keys(one: dict[str, Any], two: dict[str, Any]) -> None:
    same = json.dumps(sorted(one.items())) == json.dumps(sorted(two.items()))
    assert (key(one) == key(two)) is same


@given(bodies, st.text(max_size=8), st.text(max_size=8))
def test_two_callers_never_share_a_key(fields: dict[str, Any], one: str, two: str) -> None:
    assert (key(fields, caller=one) == key(fields, caller=two)) is (one == two)


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_no_part_of_a_key_runs_into_the_next(one: list[str], two: list[str]) -> None:
    assert (key({}, tuple(one)) == key({}, tuple(two))) is (one == two)
    joined = key({"a": one}, caller="".join(two)), key({"a": two}, caller="".join(one))
    assert (joined[0] == joined[1]) is (one == two)


def test_what_else_can_change_the_answer_is_covered() -> None:
    fields = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0}
    keys = [
        key(fields),
        key(fields, operation=Operation.COMPLETIONS),
        key(fields, model="other"),
        key(fields, ("https://two.example/v1|m",)),
        key(fields, stream=True),
        key(fields, headers={"OpenAI-Beta": "assistants=v2"}),
        key({**fields, "tools": None}),
        key({**fields, "temperature": 0.5}),
    ]
    assert len(set(keys)) == len(keys)


def test_the_order_of_names_in_a_schema_is_another_question() -> None:
    one = {"response_format": {"schema": {"properties": {"why": {}, "what": {}}}}}
    two = {"response_format": {"schema": {"properties": {"what": {}, "why": {}}}}}
    assert key(one) != key(two)


def test_a_number_is_the_same_with_and_without_its_point() -> None:
    assert key({"temperature": 0.0}) == key({"temperature": 0})
    assert key({"temperature": True}) != key({"temperature": 1})


def test_what_only_names_a_request_is_not_covered() -> None:
    traced = {"traceparent": "00-1-2-01", "X-Request-Id": "7", "Cache-Control": "max-age=5"}
    assert key({}, headers=traced) == key({})
    assert key({}, headers={"OpenAI-Beta": "x"}) == key({}, headers={"openai-beta": "x"})


def test_stream_said_in_the_body_and_left_out_are_one() -> None:
    assert key({"stream": False}) == key({"stream": None}) == key({})


def test_what_cannot_be_written_is_the_callers_fault() -> None:
    with pytest.raises(InvalidCall):
        key({"messages": [object()]})


ZERO = {"temperature": 0}
WEB = [{"type": "web_search"}]


@pytest.mark.parametrize(
    ("operation", "fields", "expected"),
    [
        (Operation.EMBEDDINGS, {}, True),
        (Operation.MODERATIONS, {}, True),
        (Operation.MODELS, ZERO, False),
        (Operation.CHAT, {}, False),
        (Operation.CHAT, ZERO, True),
        (Operation.CHAT, {"temperature": 0.0}, True),
        (Operation.CHAT, {"temperature": False}, False),
        (Operation.CHAT, {"temperature": 0.1}, False),
        (Operation.CHAT, {"seed": 0}, True),
        (Operation.CHAT, {"seed": None}, False),
        (Operation.CHAT, {"temperature": 1, "seed": 7}, True),
        (Operation.CHAT, {**ZERO, "store": True}, False),
        (Operation.CHAT, {**ZERO, "store": False}, True),
        (Operation.CHAT, {**ZERO, "web_search_options": {}}, False),
        (Operation.CHAT, {**ZERO, "tools": [{"type": "function"}, {"type": "custom"}]}, True),
        (Operation.CHAT, {**ZERO, "tools": WEB}, False),
        (Operation.CHAT, {**ZERO, "tools": "web"}, False),
        (Operation.CHAT, {**ZERO, "tools": [{"type": ["function"]}]}, False),
        (Operation.COMPLETIONS, ZERO, True),
        (Operation.RESPONSES, ZERO, False),  # there an answer is kept unless said otherwise
        (Operation.RESPONSES, {**ZERO, "store": False}, True),
        (Operation.RESPONSES, {**ZERO, "store": False, "tools": WEB}, False),
        (Operation.RESPONSES, {**ZERO, "store": False, "previous_response_id": "resp_1"}, False),
        (Operation.RESPONSES, {**ZERO, "store": False, "background": True}, False),
        (Operation.RESPONSES, {**ZERO, "store": False, "conversation": "conv_1"}, False),
    ],
)
def test_what_asks_for_the_same_answer_twice(
    operation: Operation, fields: dict[str, Any], expected: bool
) -> None:
    assert repeatable(operation, fields) is expected


@given(bodies, st.sampled_from(list(Operation)))
def test_what_is_repeatable_may_be_shared(fields: dict[str, Any], operation: Operation) -> None:
    assert may_be_shared(operation, fields) or not repeatable(operation, fields)
