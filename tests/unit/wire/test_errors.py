"""Whatever a provider's error body is, facts come back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.errors import InvalidCall, Refused
from stanchion.wire.errors import ErrorFacts, error_facts, read_error, write_error


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (
            {"error": {"message": "m", "type": "t", "code": "c", "param": "p"}},
            ErrorFacts(message="m", type="t", code="c", param="p"),
        ),
        ({"error": {"message": "m", "code": None}}, ErrorFacts(message="m")),
        ({"error": {"message": "m", "code": 429}}, ErrorFacts(message="m", code="429")),
        ({"error": {"message": "m", "code": True}}, ErrorFacts(message="m")),
        ({"error": "words"}, ErrorFacts(message="words")),
        ({"error": None}, ErrorFacts()),
        ({"error": []}, ErrorFacts()),
        ({"error": {"message": {"not": "text"}, "code": ["x"]}}, ErrorFacts()),
        ({"message": "m", "code": "c"}, ErrorFacts(message="m", code="c")),
        ({"detail": "d"}, ErrorFacts(message="d")),
        ({"detail": [{"loc": ["body"], "msg": "x"}]}, ErrorFacts()),
        ({"msg": "x"}, ErrorFacts(message="x")),
        ([{"error": {"message": "m", "code": 400}}], ErrorFacts(message="m", code="400")),
        ([], ErrorFacts()),
        ([[]], ErrorFacts()),
        ("words", ErrorFacts()),
        (None, ErrorFacts()),
        (5, ErrorFacts()),
    ],
)
def test_the_dialects(body: object, facts: ErrorFacts) -> None:
    assert read_error(json.dumps(body).encode()) == facts


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>502 Bad Gateway</html>", b"\xff\xfe", b'{"error": {"message": "\\ud800"}}', b"{",
        b"[" * 100_000, b'{"error":{"code":' + b"9" * 5000 + b"}}", b'{"error":{"code":1e999}}',
    ],
)  # fmt: skip
def test_an_odd_body_says_nothing_and_does_no_harm(body: bytes) -> None:
    assert read_error(body) == ErrorFacts()


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,errocdmsag \\', max_size=60).map(str.encode))
def test_no_bytes_raise(body: bytes) -> None:
    assert isinstance(read_error(body), ErrorFacts)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "detail"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(values)
def test_no_json_raises(value: object) -> None:
    assert isinstance(error_facts(value), ErrorFacts)
    assert isinstance(read_error(json.dumps(value).encode()), ErrorFacts)


def test_a_code_that_never_ends_is_cut() -> None:
    assert len(read_error(json.dumps({"error": {"code": "x" * 10_000}}).encode()).code or "") == 200


def test_the_caller_is_told_in_openais_form_and_in_the_providers_words() -> None:
    error = Refused(
        "the provider answered 429", type="requests", code="rate_limit_exceeded", said="slow down"
    )
    assert json.loads(write_error(error)) == {
        "error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    }
    assert json.loads(write_error(InvalidCall("no model", param="model"))) == {
        "error": {"message": "no model", "type": "invalid_request_error", "param": "model", "code": None}
    }
