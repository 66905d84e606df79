"""The shape of a request body, and no more than the shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.call import Operation
from stanchion.rules.shapes import problem

GOOD = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("operation", "fields", "param"),
    [
        (Operation.CHAT, {}, "messages"),
        (Operation.CHAT, {"messages": []}, "messages"),
        (Operation.CHAT, {"messages": "hi"}, "messages"),
        (Operation.CHAT, {"messages": ["hi"]}, "messages[0]"),
        (Operation.CHAT, {"messages": [{"role": "user"}, {"content": "x"}]}, "messages[1].role"),
        (Operation.CHAT, {"messages": [{"role": 5}]}, "messages[0].role"),
        (Operation.CHAT, {**GOOD, "temperature": "hot"}, "temperature"),
        (Operation.CHAT, {**GOOD, "temperature": True}, "temperature"),
        (Operation.CHAT, {**GOOD, "top_p": []}, "top_p"),
        (Operation.CHAT, {**GOOD, "n": 0}, "n"),
        (Operation.CHAT, {**GOOD, "n": 1.5}, "n"),
        (Operation.CHAT, {**GOOD, "n": True}, "n"),
        (Operation.CHAT, {**GOOD, "max_tokens": -1}, "max_tokens"),
        (Operation.CHAT, {**GOOD, "max_completion_tokens": "9"}, "max_completion_tokens"),
        (Operation.CHAT, {**GOOD, "stream_options": True}, "stream_options"),
        (Operation.CHAT, {**GOOD, "tools": {}}, "tools"),
        (Operation.CHAT, {**GOOD, "metadata": []}, "metadata"),
        (Operation.COMPLETIONS, {}, "prompt"),
        (Operation.EMBEDDINGS, {}, "input"),
        (Operation.EMBEDDINGS, {"input": ""}, "input"),
        (Operation.EMBEDDINGS, {"input": []}, "input"),
        (Operation.MODERATIONS, {}, "input"),
        (Operation.RESPONSES, {"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_a_wrong_shape_is_named(operation: Operation, fields: dict[str, object], param: str) -> None:
    found = problem(operation, fields)
    assert found is not None
    assert found[0] == param
    assert param.split("[", maxsplit=1)[0] in found[1] or "message" in found[1]


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (Operation.CHAT, GOOD),
        (Operation.CHAT, {**GOOD, "temperature": None, "n": None, "tools": None}),
        (Operation.CHAT, {**GOOD, "temperature": 0, "top_p": 1.0, "n": 2}),
        (Operation.CHAT, {**GOOD, "tomorrows_parameter": {"any": ["thing"]}}),
        (Operation.CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        (Operation.CHAT, {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}),
        (Operation.COMPLETIONS, {"prompt": [1, 2, 3]}),
        (Operation.EMBEDDINGS, {"input": ["a", "b"]}),
        (Operation.EMBEDDINGS, {"input": [[1, 2]]}),
        (Operation.RESPONSES, {"prompt": {"id": "p"}}),
        (Operation.MODELS, {}),
    ],
)
def test_a_right_shape_passes(operation: Operation, fields: dict[str, object]) -> None:
    assert problem(operation, fields) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(["messages", "input", "prompt", "n", "temperature", "tools", "stream_options", "x"])


@given(st.sampled_from(Operation), st.dictionaries(names, values, max_size=4))
def test_no_body_breaks_the_check(operation: Operation, fields: dict[str, object]) -> None:
    found = problem(operation, fields)
    assert found is None or all(isinstance(each, str) for each in found)
