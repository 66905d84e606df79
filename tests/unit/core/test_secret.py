"""A secret never prints, compares or pickles in the clear."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import msgspec
import pytest

from stanchion.core.secret import Hidden, Secret

KEY = "sk-canary-0123456789"


def test_a_secret_prints_as_nothing() -> None:
    secret = Secret(KEY)
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{[secret]}",
        f"{ {'k': secret} }",
    ):
        assert "canary" not in shown
        assert "<Secret>" in shown


def test_a_secret_does_not_pickle_or_copy() -> None:
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            take(Secret(KEY))
        with pytest.raises(TypeError, match="not pickled"):
            take(Hidden(KEY))


def test_a_secret_does_not_encode() -> None:
    for encode in (msgspec.json.encode, json.dumps, msgspec.msgpack.encode):
        with pytest.raises(TypeError):
            encode(Secret(KEY))


def test_a_secret_is_in_no_log_line_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(KEY)
    with caplog.at_level(logging.INFO):
        logging.getLogger("x").info("with %s and %r", secret, Hidden(KEY), extra={"facts": {"key": secret}})
    try:
        raise ValueError("failed with", secret, Hidden(KEY))
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "canary" not in repr(Hidden(KEY))
    assert "canary" not in caplog.text
    assert "canary" not in shown.replace(f"KEY = '{KEY}'", "")


def test_a_fingerprint_tells_keys_apart_and_only_to_who_has_the_pepper() -> None:
    one, other = Secret(KEY), Secret(KEY + "x")
    assert one.fingerprint(b"p" * 16) == Secret(KEY).fingerprint(b"p" * 16)
    assert one.fingerprint(b"p" * 16) != other.fingerprint(b"p" * 16)
    assert one.fingerprint(b"p" * 16) != one.fingerprint(b"q" * 16)
    assert len(one.fingerprint(b"p" * 16)) == 13


def test_secrets_are_the_same_if_their_values_are() -> None:
    same, other = Secret(KEY), Secret(KEY + "x")
    assert Secret(KEY) == same
    assert hash(Secret(KEY)) == hash(same)
    assert Secret(KEY) != other
    assert Secret(KEY) != KEY
    assert Secret(KEY) != KEY
    assert same.reveal() == KEY


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "is empty"),
        ("  ", "holds a space"),
        ("'a b'", "holds a space"),
        (f"{KEY}\n", "ends in a line break; write it without one: printf %s"),
        (f"{KEY}\r\n", "ends in a line break; write it without one: printf %s"),
        ("\n", "holds a line break or another control character"),
        ("a\nb", "holds a line break or another control character"),
        ("a\x00", "control character"),
        ("\x7f", "control character"),
        (f"\ufeff{KEY}", "not ASCII"),
        ("schlüssel", "not ASCII"),
        ("k" * 4097, "longer than 4096"),
    ],
)
def test_a_value_that_cannot_be_sent_is_refused_by_name_and_not_by_value(value: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"the key in OPENAI_API_KEY .*{why}") as raised:
        Secret(value, name="the key in OPENAI_API_KEY")
    assert len(str(raised.value)) < 200
    assert not value.strip() or value.strip() not in str(raised.value)


def test_a_short_key_is_a_key() -> None:
    assert Secret("x").reveal() == "x"


def test_a_hidden_value_sends_as_itself() -> None:
    assert "Authorization: " + Hidden(KEY) == f"Authorization: {KEY}"
    assert Hidden(KEY).encode() == KEY.encode()
