"""A body goes out as it came in, unless it could be read in two ways."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.call import Body, Call, Operation, json_call
from stanchion.core.errors import InvalidCall

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","messages":[]}',
        b' {\n "model" : "m" , "x" : 1.50, "y": 1e2, "z": -0 }\n',
        '{"model":"m","text":"déjà 你好 🎈"}'.encode(),
        b'{"model":"m","n_":123456789012345678901234567890}',
        b'{"top_p":0,"top_p":1,"model":"m"}',  # a twin nobody here decides on
        b'{"model":"m","a":"say \\"model\\" and \\"stream\\""}',
        b"{}",
    ],
)
def test_bytes_that_nobody_changed_go_out_as_they_came_in(raw: bytes) -> None:
    assert Body.read(raw).raw is raw


@pytest.mark.parametrize(
    ("raw", "understood"),
    [
        (b'{"model":"a","model":"b"}', {"model": "b"}),
        (b'{"stream":true,"model":"m","stream":false}', {"model": "m", "stream": False}),
        (b'{"model":"a","\\u006dodel":"b"}', {"model": "b"}),
        (b'{"n":1,"n":50}', {"n": 50}),
        (b'{"max_tokens":1,"max_tokens":9}', {"max_tokens": 9}),
    ],
)
def test_a_body_that_could_be_read_in_two_ways_goes_out_as_it_was_understood(
    raw: bytes, understood: dict[str, object]
) -> None:
    body = Body.read(raw)
    assert body.raw != raw
    assert body.fields == understood
    pairs = json.loads(body.raw, object_pairs_hook=lambda pairs: pairs)
    assert (len(pairs), dict(pairs)) == (len(understood), understood)


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=5))
def test_any_json_object_is_read_as_json_reads_it(fields: dict[str, object]) -> None:
    for ascii_only in (True, False):
        raw = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        try:
            body = Body.read(raw)
        except InvalidCall:  # lone surrogates, and numbers no float holds
            assert "\\ud" in raw.decode("utf-8", "replace") or _huge(fields) or b"\xed" in raw
            continue
        assert json.loads(body.raw) == json.loads(raw)


def _huge(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_huge, value.values()))
    if isinstance(value, list):
        return any(map(_huge, value))
    return isinstance(value, int) and abs(value) >= 10**300


def test_a_changed_body_keeps_what_was_not_changed() -> None:
    body = Body.read(
        b'{"model":"a","big":123456789012345678901234567890,"f":0.1,"deep":{"x":[1,null,"\xc3\xa9"]}}'
    )
    changed = body.having(model="b")
    assert json.loads(changed.raw) == {**json.loads(body.raw), "model": "b"}
    assert b"123456789012345678901234567890" in changed.raw
    assert body.fields["model"] == "a"
    assert changed.raw is changed.raw  # encoded once


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"model":"m"',
        b"[1]",
        b'"x"',
        b"null",
        b'{"temperature":NaN}',
        b'{"temperature":Infinity}',
        b'{"temperature":1e999}',
        b'{"model":"\\ud800"}',
        b'{"model":"\xff"}',
        b'{"model":"m"} trailing',
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"model":' + b"9" * 10_000 + b"}",
        b'\xef\xbb\xbf{"model":"m"}',
        b"{'model':'m'}",
        b'{"model":"secret-prompt\x01"}',
    ],
)
def test_what_is_no_json_object_is_the_callers_fault_and_is_not_repeated(raw: bytes) -> None:
    with pytest.raises(InvalidCall) as raised:
        Body.read(raw)
    assert (raised.value.status, raised.value.code) == (400, "invalid_json")
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"model": 4}, "model"),
        ({"model": ["m"]}, "model"),
        ({"model": "m", "stream": "yes"}, "stream"),
        ({"model": "m", "stream": 1}, "stream"),
    ],
)
def test_a_call_needs_a_model_and_a_true_or_false_stream(body: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidCall) as raised:
        json_call(Operation.CHAT, Body(body))
    assert raised.value.param == param


def test_a_call_is_made_from_its_body() -> None:
    call = json_call(Operation.CHAT, Body({"model": "m", "stream": None}), caller="c")
    assert (call.model, call.stream, call.caller, call.attempt, call.deadline) == (
        "m",
        False,
        "c",
        1,
        math.inf,
    )
    assert json_call(Operation.CHAT, Body({"model": "m", "stream": True})).stream is True


def test_a_changed_call_is_another_one_with_the_same_trail_and_name() -> None:
    call = json_call(Operation.CHAT, Body({"model": "m"}))
    later = call.having(attempt=2)
    assert (call.attempt, later.attempt, later.id) == (1, 2, call.id)
    assert later.trail is call.trail
    assert json_call(Operation.CHAT, Body({"model": "m"})).id != call.id
    assert json_call(Operation.CHAT, Body({"model": "m"})).trail is not call.trail


def test_one_calls_options_go_over_the_configured_ones() -> None:
    call = Call(operation=Operation.CHAT, body=Body({}), model="m", options={int: 7})
    assert (call.option(int, 1), call.option(str, "x")) == (7, "x")


def test_neither_a_call_nor_a_body_prints_the_prompt() -> None:
    call = json_call(Operation.CHAT, Body({"model": "m", "messages": "secret words"}))
    assert "secret" not in repr(call) + str(call) + repr(call.body) + f"{call.body}"


@pytest.mark.parametrize("operation", Operation)
def test_an_operations_value_is_its_path(operation: Operation) -> None:
    assert not operation.value.startswith("/")
