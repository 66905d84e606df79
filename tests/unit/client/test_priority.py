"""Who calls, and how urgently: said to a client, or to one call of it."""

from __future__ import annotations

import pytest

from stanchion.client.async_client import AsyncClient, PerCall
from stanchion.core.call import Call, Operation
from stanchion.core.errors import InvalidCall


def call(said: PerCall, **usual: str) -> Call:
    client = AsyncClient(base_url="http://127.0.0.1:1/v1", api_key="k", **usual)  # type: ignore[arg-type]
    return client._call(Operation.CHAT, {"model": "m", "messages": []}, said)


def test_a_call_is_interactive_and_of_nobody_unless_something_is_said() -> None:
    made = call(PerCall())
    assert (made.priority, made.caller) == ("interactive", "")


def test_what_is_said_to_the_client_counts_for_each_call_that_says_nothing() -> None:
    usual = {"priority": "batch", "caller": "nightly"}
    made = call(PerCall(), **usual)
    assert (made.priority, made.caller) == ("batch", "nightly")
    made = call(PerCall(idempotency_key="k"), **usual)
    assert (made.priority, made.caller, made.idempotency_key) == ("batch", "nightly", "k")
    made = call(PerCall(priority="interactive", caller="anna"), **usual)
    assert (made.priority, made.caller) == ("interactive", "anna")


def test_another_priority_is_refused() -> None:
    with pytest.raises(InvalidCall, match="'interactive' or 'batch'"):
        call(PerCall(), priority="low")
    with pytest.raises(InvalidCall, match="'interactive' or 'batch'"):
        call(PerCall(priority="low"))  # type: ignore[arg-type]
