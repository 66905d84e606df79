"""Who calls, and how urgently: what a request's headers say of it."""

from __future__ import annotations

import pytest

from stanchion.core.call import Call, Operation
from stanchion.core.errors import InvalidCall
from stanchion.gateway.requests import read_call
from stanchion.rules.cache_control import CacheAsked

BODY = b'{"model": "m", "messages": []}'


def call(peer: str = "10.0.0.1", **headers: str) -> Call:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return read_call(Operation.CHAT, BODY, named, 0.0, peer=peer)


def test_callers_are_told_apart_by_what_they_authorize_themselves_with() -> None:
    one, other = call(authorization="Bearer one").caller, call(authorization="Bearer other").caller
    assert one != other
    assert call("10.9.9.9", authorization="Bearer one").caller == one
    assert "one" not in one


def test_callers_without_a_key_are_told_apart_by_their_address() -> None:
    assert call("10.0.0.1").caller == call("10.0.0.1").caller != call("10.0.0.2").caller
    assert "10.0" not in call("10.0.0.1").caller
    assert call("").caller == ""


def test_addresses_of_one_ipv6_network_are_one_caller() -> None:
    assert call("2001:db8:1:2:aaaa::1").caller == call("2001:db8:1:2:bbbb::2").caller
    assert call("2001:db8:1:2::1").caller != call("2001:db8:1:3::1").caller


def test_a_call_with_an_idempotency_key_may_come_again_from_elsewhere() -> None:
    assert call("10.0.0.1", idempotency_key="k").caller == call("10.0.0.2", idempotency_key="k").caller


def test_a_call_is_interactive_unless_it_says_otherwise() -> None:
    assert call().priority == "interactive"
    assert call(x_stanchion_priority="interactive").priority == "interactive"
    assert call(x_stanchion_priority="batch").priority == "batch"


@pytest.mark.parametrize("value", ["", "Batch", "low", "batch,batch", "b\u00e4tch"])
def test_another_priority_is_refused_with_the_two_that_there_are(value: str) -> None:
    with pytest.raises(InvalidCall, match="'interactive' or 'batch'") as raised:
        call(x_stanchion_priority=value)
    assert (raised.value.status, raised.value.param) == (400, "x-stanchion-priority")


def test_what_is_said_of_kept_answers_is_read() -> None:
    assert CacheAsked not in call().options
    assert call(cache_control="max-age=60").options[CacheAsked] == CacheAsked(asks=True, max_age_s=60.0)
    with pytest.raises(InvalidCall, match="whole number"):
        call(cache_control="max-age=soon")


def test_those_who_share_a_pepper_know_a_caller_again() -> None:
    def caller(pepper: bytes) -> str:
        named = {b"authorization": b"Bearer one"}
        return read_call(Operation.CHAT, BODY, named, 0.0, pepper=pepper).caller

    assert caller(b"shared") == caller(b"shared") != caller(b"another")
