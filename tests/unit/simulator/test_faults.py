"""Faults: how they are written, which call meets which, and what each does to the bytes."""

from __future__ import annotations

import json

import msgspec
import pytest

from stanchion.simulator.errors import CODES
from stanchion.simulator.faults import NAMES, Fault, FaultPlan
from stanchion.simulator.spoil import DONE, Ending, refusal, spoil_body, spoil_events

EVENTS = [b'data: {"a":1}\n\n', b'data: {"b":2}\n\n', b'data: {"c":3}\n\n', DONE]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("503", {"name": "status", "status": 503}),
        ("429:retry_after=2", {"name": "status", "status": 429, "retry_after": 2.0}),
        ("429,retry_after_ms=150", {"name": "status", "status": 429, "retry_after_ms": 150.0}),
        ("cut:5", {"name": "cut", "after": 5}),
        ("cut:5,end=abort", {"name": "cut", "after": 5, "end": "abort"}),
        ("slow:2.5", {"name": "slow", "seconds": 2.5}),
        ("silence,rate=0.1", {"name": "silence", "rate": 0.1}),
        ("flap:5,fault=429:retry_after=1", {"name": "flap", "seconds": 5.0, "fault": "429:retry_after=1"}),
        (
            "insufficient_quota,times=3,model=gpt-4o",
            {"name": "insufficient_quota", "times": 3, "model": "gpt-4o"},
        ),
        ("cut-bytes:12", {"name": "cut_bytes", "after": 12}),
    ],
)
def test_the_text_form_and_the_object_form_mean_the_same(text: str, fields: dict[str, object]):
    assert Fault.parse(text) == Fault.of(fields)
    assert Fault.of(json.loads(msgspec.json.encode(Fault.parse(text)))) == Fault.parse(text)


@pytest.mark.parametrize(
    "text", ["", "cutt:5", "200", "cut:x", "cut:-1", "503:7", "flap", "cut:5,what=1", "rate=2"]
)
def test_a_fault_that_cannot_be_read_is_refused_with_a_reason(text: str):
    with pytest.raises(ValueError, match=r"."):
        Fault.parse(text)


@pytest.mark.parametrize(
    ("model", "same"),
    [
        ("fault-429", "429"),
        ("fault-429-retry-after", "429:retry_after=1"),
        ("fault-429-retry-after-2", "429:retry_after=2"),
        ("fault-429-retry-after-ms-200", "429:retry_after_ms=200"),
        ("fault-cut-5", "cut:5"),
        ("fault-cut-5-abort", "cut:5,end=abort"),
        ("fault-cut-bytes-100-reset", "cut_bytes:100,end=reset"),
        ("fault-stall-3", "stall:3"),
        ("fault-slow-0.5", "slow:0.5"),
        ("fault-insufficient-quota", "insufficient_quota"),
        ("fault-insufficient_quota", "insufficient_quota"),
        ("fault-error-event-2", "error_event:2"),
        ("fault-error-body", "error_body"),
        ("fault-no-done", "no_done"),
    ],
)
def test_a_models_name_can_ask_for_a_fault(model: str, same: str):
    assert Fault.of_model(model) == Fault.parse(same)


@pytest.mark.parametrize("model", ["gpt-4o", "fault-", "fault-nonsense", "fault-9", "default-cut-5"])
def test_other_names_ask_for_none(model: str):
    assert Fault.of_model(model) is None


def test_a_schedule_is_used_up_in_order_and_by_model():
    plan = FaultPlan(["503", "ok", "cut:5,model=b", "reset,times=2"])
    met = [plan.next_for(model, 0.0) for model in ("a", "a", "a", "b", "a", "a")]
    assert [fault and fault.label() for fault in met] == ["503", None, "reset", "cut:5", "reset", None]
    assert plan.pending() == []


def test_a_rate_strikes_its_share_and_the_same_calls_for_the_same_seed():
    struck = [
        [plan.next_for("m", 0.0) is not None for _ in range(2000)]
        for plan in (FaultPlan(["500,rate=0.1"], seed=7), FaultPlan(["500,rate=0.1"], seed=7))
    ]
    assert struck[0] == struck[1]
    assert 150 < sum(struck[0]) < 250


def test_flapping_begins_with_failing_and_changes_every_period():
    plan = FaultPlan(["flap:5,fault=502"])
    met = [plan.next_for("m", at) for at in (100.0, 104.9, 105.0, 109.9, 110.0)]
    assert [fault and fault.status for fault in met] == [502, 502, None, None, 502]


def test_a_plan_that_cannot_be_read_leaves_the_old_one():
    plan = FaultPlan(["503"])
    with pytest.raises(ValueError, match="nonsense"):
        plan.set(["500", "nonsense"])
    assert [fault.label() for fault in plan.pending()] == ["503"]


def test_a_model_named_after_a_fault_uses_up_nothing():
    plan = FaultPlan(["503"])
    assert plan.next_for("fault-reset", 0.0) == Fault.parse("reset")
    assert len(plan.pending()) == 1


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_a_refusal_that_carries_it(code: str):
    error = refusal(Fault.parse(code), "gpt-x", "Bearer k")
    assert error is not None
    assert json.loads(error.body)["error"]["code"] == code
    assert error.status == CODES[code].status


def test_an_echoed_key_stands_in_the_error():
    error = refusal(Fault.parse("echo_key"), "m", "Bearer sk-canary")
    assert error is not None
    assert b"sk-canary" in error.body


def test_retry_after_goes_out_in_both_units():
    error = refusal(Fault.parse("429:retry_after=2,retry_after_ms=1500"), "m", "")
    assert error is not None
    assert error.headers == (("retry-after", "2"), ("retry-after-ms", "1500"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cut:2", [*EVENTS[:2], Ending("clean")]),
        ("cut:9", [*EVENTS[:3], Ending("clean")]),
        ("cut:2,end=abort", [*EVENTS[:2], Ending("abort", EVENTS[2][: len(EVENTS[2]) // 2], len(EVENTS[2]))]),
        ("cut_bytes:20", [EVENTS[0], Ending("clean", EVENTS[1][:5], len(EVENTS[1]))]),
        ("cut_bytes:20,end=reset", [EVENTS[0], Ending("reset", EVENTS[1][:5], len(EVENTS[1]))]),
        ("stall:1", [EVENTS[0], Ending(None)]),
        ("stall:0", [Ending(None)]),
        ("no_done", EVENTS[:3]),
        ("slow:1", EVENTS),
    ],
)
def test_a_spoilt_stream_sends_exactly_this(text: str, expected: list[object]):
    assert list(spoil_events(iter(EVENTS), Fault.parse(text))) == expected


def test_a_malformed_event_stands_among_good_ones():
    sent = list(spoil_events(iter(EVENTS), Fault.parse("malformed:1")))
    assert [sent[0], *sent[2:]] == [EVENTS[0], *EVENTS[2:]]
    assert isinstance(sent[1], bytes)
    assert sent[1].endswith(b"\n\n")
    with pytest.raises(ValueError, match=r"."):
        json.loads(sent[1].removeprefix(b"data: "))


def test_an_error_in_the_stream_is_the_last_event():
    sent = list(spoil_events(iter(EVENTS), Fault.parse("error_event:1")))
    assert sent[0] == EVENTS[0]
    assert isinstance(sent[1], bytes)
    assert "error" in json.loads(sent[1].removeprefix(b"data: "))
    assert sent[2:] == [Ending("clean")]


@pytest.mark.parametrize(
    ("text", "sent", "length", "how"),
    [
        ("cut_bytes:3", 3, 3, "clean"),
        ("cut_bytes:3,end=abort", 3, 10, "abort"),
        ("cut:1,end=reset", 5, 10, "reset"),
        ("stall:1", 5, 10, None),
        ("stall:0", 0, 10, None),
        ("empty", 0, 0, "clean"),
        ("no_done", 10, 10, "clean"),
    ],
)
def test_a_spoilt_body_sends_so_much_and_claims_so_much(text: str, sent: int, length: int, how: str | None):
    spoilt = spoil_body(b"0123456789", Fault.parse(text))
    assert (len(spoilt.body), spoilt.length, spoilt.how) == (sent, length, how)


def test_every_name_has_its_line_in_the_table():
    from stanchion.simulator import faults

    assert faults.__doc__ is not None
    assert [name for name in sorted(NAMES - {"status"}) if name not in faults.__doc__] == []
