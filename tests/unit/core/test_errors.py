"""An error states facts, and never repeats the provider's words."""

from __future__ import annotations

import pickle
import traceback

import pytest

from stanchion.core import errors
from stanchion.core.errors import (
    CallerError,
    Cut,
    NotCached,
    NotYet,
    Refused,
    Sent,
    StanchionError,
    UpstreamError,
)

ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, StanchionError)]


def refused() -> Refused:
    error = Refused(
        "the provider answered 429",
        status=429,
        code="rate_limit_exceeded",
        said="secret words",
        body=b"secret words",
        headers={"x-echo": "secret words"},
        endpoint="p/m",
        retry_after_s=2.0,
        retryable=True,
    )
    error.add_note("secret words in a note")
    return error


def test_a_pickled_error_holds_the_facts_and_none_of_the_providers_words() -> None:
    raw = pickle.dumps(refused())
    assert b"secret" not in raw
    back = pickle.loads(raw)
    assert type(back) is Refused
    assert (str(back), back.status, back.code, back.endpoint) == (
        "the provider answered 429",
        429,
        "rate_limit_exceeded",
        "p/m",
    )
    assert (back.retry_after_s, back.retryable, back.said, back.body) == (2.0, True, "", None)


def test_a_pickled_cut_holds_no_partial_text() -> None:
    raw = pickle.dumps(Cut("cut", partial="secret words"))
    assert b"secret" not in raw
    assert pickle.loads(raw).partial == ""


def test_neither_text_nor_repr_nor_traceback_holds_the_providers_words() -> None:
    error = Refused("the provider answered 400", said="secret words", body=b"secret words")
    shown = "".join(traceback.format_exception(error)) + str(error) + repr(error)
    assert "secret" not in shown


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_whose_fault_it_is_and_how_it_is_answered(kind: type[StanchionError]) -> None:
    error = NotYet(1.5) if kind is NotYet else kind("what happened")
    assert 400 <= error.status < 600
    # NotCached is a 504 by RFC 9111, and the caller's own wish
    assert isinstance(error, CallerError) == (error.status < 500 or kind is NotCached)
    assert isinstance(error.type, str)
    assert pickle.loads(pickle.dumps(error)).args == error.args


def test_no_room_yet_says_when() -> None:
    error = pickle.loads(pickle.dumps(NotYet(1.5)))
    assert (error.wait_s, error.retry_after_s, error.status, error.firm) == (1.5, 1.5, 503, True)
    assert not pickle.loads(pickle.dumps(NotYet(1.5, firm=False))).firm


def test_how_far_a_call_got_is_a_fact_of_the_kind() -> None:
    got = {kind.__name__: kind("x").sent for kind in ALL if issubclass(kind, UpstreamError)}
    assert got == {
        "UpstreamError": Sent.ANSWERED,
        "Unreachable": Sent.NOT_SENT,
        "Silent": Sent.NO_ANSWER,
        "Refused": Sent.ANSWERED,
        "Unusable": Sent.ANSWERED,
        "Cut": Sent.ANSWERED,
    }


def test_facts_of_one_error_are_not_facts_of_its_kind() -> None:
    Refused("x", status=418, retryable=False)
    assert (Refused("y").status, Refused("y").retryable) == (502, True)
