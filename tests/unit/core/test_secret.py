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


def test_a_secret_prints_as_its_fingerprint() -> None:
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
        assert secret.fingerprint in shown


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


def test_secrets_are_the_same_if_their_values_are() -> None:
    same, other = Secret(f"  {KEY}\n"), Secret(KEY + "x")
    assert Secret(KEY) == same
    assert hash(Secret(KEY)) == hash(same)
    assert Secret(KEY) != other
    assert Secret(KEY) != KEY
    assert Secret(KEY) != KEY
    assert same.reveal() == KEY
    assert same.fingerprint != other.fingerprint


@pytest.mark.parametrize("value", ["", "  ", "a b", "a\nb", "schlüssel", "a\x00", "\x7f", "k" * 4097])
def test_a_value_that_cannot_be_sent_is_refused_by_name_and_not_by_value(value: str) -> None:
    with pytest.raises(ValueError, match="the key in OPENAI_API_KEY is empty, too long") as raised:
        Secret(value, name="the key in OPENAI_API_KEY")
    assert len(str(raised.value)) < 200
    assert not value.strip() or value not in str(raised.value)


def test_a_hidden_value_sends_as_itself() -> None:
    assert "Authorization: " + Hidden(KEY) == f"Authorization: {KEY}"
    assert Hidden(KEY).encode() == KEY.encode()
