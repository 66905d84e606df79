"""The charge of a body is the one that the simulator's quota makes of it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.charge import IMAGE_TOKENS, charge
from stanchion.simulator import chat, completions, embeddings
from stanchion.simulator.quota import admission_charge

texts = st.text(max_size=60)
parts = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
        st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
    ),
    min_size=1,
    max_size=4,
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": st.one_of(texts, parts)}),
    min_size=1,
    max_size=6,
)
more = st.fixed_dictionaries({}, optional={"n": st.integers(1, 5), "max_tokens": st.integers(1, 4000)})


@given(messages, more)
def test_a_chat_is_charged_as_the_simulator_charges_it(
    said: list[dict[str, Any]], more: dict[str, int]
) -> None:
    body = {"model": "m", "messages": said, **more}
    asked = chat.charge(chat.decode(msgspec.json.encode(body)))
    joints = sum(max(0, len(each["content"]) - 1) for each in said if isinstance(each["content"], list))
    real = admission_charge(asked.chars, asked.messages, asked.n, asked.images)
    assert real - (joints + 3) // 4 <= charge(body) <= real  # the simulator joins parts by a character


@given(texts, more)
def test_a_completion_is_charged_as_the_simulator_charges_it(prompt: str, more: dict[str, int]) -> None:
    body = {"model": "m", "prompt": prompt, **more}
    asked = completions.charge(completions.decode(msgspec.json.encode(body)))
    assert charge(body) == admission_charge(asked.chars, asked.messages, asked.n)


@given(st.one_of(texts.filter(bool), st.lists(texts.filter(bool), min_size=1, max_size=5)))
def test_embeddings_are_charged_as_the_simulator_charges_them(given_texts: str | list[str]) -> None:
    """It counts each text as an answer and not as a message, which makes the same sum but for one."""
    body = {"model": "m", "input": given_texts}
    asked = embeddings.charge(embeddings.decode(msgspec.json.encode(body)))
    real = admission_charge(asked.chars, asked.messages, asked.n)
    assert real <= charge(body) <= real + 1


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": [{"role": "system", "content": "x" * 11}, {"role": "user", "content": "x" * 22}]}, 12),
        ({"messages": [{"role": "user", "content": "x" * 20}]}, 7),  # gpt-4.1, August 2025
        ({"messages": [{"role": "user", "content": "x" * 20}], "n": 3}, 9),
        ({"messages": [{"role": "user", "content": "你好"}]}, 3),  # by characters, whatever they are
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 2 + IMAGE_TOKENS),
        ({"messages": []}, 1),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, 2),
        ({"input": [1, 2, 3, 4]}, 6),  # tokens already
        ({"input": [{"role": "user", "content": "x" * 8}]}, 4),
        ({"input": "x" * 8, "instructions": "y" * 8}, 7),
        ({"prompt": ["x" * 4, "y" * 4]}, 5),
        ({}, 1),
    ],
)
def test_bodies_and_their_charge(body: dict[str, Any], tokens: int) -> None:
    assert charge(body) == tokens


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ({"max_tokens": 100}, 107),
        ({"max_completion_tokens": 200, "max_tokens": 100}, 207),
        ({"max_tokens": 100, "n": 2}, 208),
        ({}, 7),
        ({"max_tokens": "many"}, 7),
        ({"max_tokens": -5}, 7),
    ],
)
def test_who_reserves_the_answer_charges_for_it_too(more: dict[str, Any], tokens: int) -> None:
    body = {"messages": [{"role": "user", "content": "x" * 20}], **more}
    assert charge(body, reserves_output=True) == tokens
    assert charge(body) == 7 + (more.get("n", 1) - 1)


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), texts, st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["content", "text", "type", "role"]), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "input", "prompt", "instructions", "n", "max_tokens"]), anything
    ),
    st.booleans(),
)
def test_a_body_of_any_shape_has_a_charge(body: dict[str, Any], reserves: bool) -> None:
    """What it is worth is the provider's to say; nothing is raised here."""
    tokens = charge(body, reserves_output=reserves)
    assert tokens >= 1
    assert math.isfinite(tokens)
