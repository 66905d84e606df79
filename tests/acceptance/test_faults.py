"""Every fault a provider can have, whole and streamed, alone and with another provider to fall back on.

Two sides are asserted: what the caller saw, and what the providers counted.  A caller sees an answer that is
whole, or an error; never half an answer that looks whole.  A fault the simulator learns must get a row here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from stanchion.simulator import Fault, SimulatorOptions, Timing
from stanchion.simulator.errors import CODES
from stanchion.simulator.faults import NAMES
from tests.acceptance.raw_client import Answer, ask
from tests.acceptance.stage import ASKED, QUICK, Gateway, Provider, provider, settled

TRIES = 2  # in all, of what may be tried again
HASTY = """
[attempt_timeout]
first_token_s = 0.4
stall_s = 0.4
total_s = 0.6
"""


@dataclass(frozen=True)
class Fine:
    """The answer comes, from the first try."""


@dataclass(frozen=True)
class Refused:
    """An HTTP error comes, if there is no other provider."""

    status: int
    code: str | None = None
    tries: int = TRIES
    elsewhere: bool = True  # another provider is asked, where there is one
    tries_with_another: int | None = None  # a provider that was silent is not asked again then


@dataclass(frozen=True)
class Cut:
    """The answer began; the stream ends with this error and a broken connection."""

    code: str


Outcome = Fine | Refused | Cut
FINE = Fine()
OVERLOADED = Refused(503, "server_is_overloaded")


def refused_for_good(status: int, code: str | None) -> Refused:
    return Refused(status, code, tries=1)


def callers_fault(status: int, code: str | None = None) -> Refused:
    return Refused(status, code, tries=1, elsewhere=False)


def silent(code: str) -> Refused:
    return Refused(504, code, tries_with_another=1)


# fault, what a caller who wants it whole gets, and one who wants a stream (None: the same)
TABLE: list[tuple[str, Outcome, Outcome | None]] = [
    ("ok", FINE, None),
    ("slow:0.1", FINE, None),
    ("content_type", FINE, None),
    ("400", callers_fault(400), None),
    ("401", refused_for_good(401, "invalid_api_key"), None),
    ("402", refused_for_good(402, None), None),
    ("403", refused_for_good(403, None), None),
    ("404", refused_for_good(404, None), None),
    ("408", Refused(408), None),
    ("409", Refused(409), None),
    ("413", callers_fault(413), None),
    ("422", callers_fault(422), None),
    ("429", Refused(429, "rate_limit_exceeded"), None),
    ("429:retry_after=0.05", Refused(429, "rate_limit_exceeded"), None),
    ("429:retry_after_ms=50", Refused(429, "rate_limit_exceeded"), None),
    ("429:retry_after=90", Refused(429, "rate_limit_exceeded", tries=1), None),
    ("500", Refused(500), None),
    ("502", Refused(502), None),
    ("503", OVERLOADED, None),
    ("504", Refused(504), None),
    ("529", Refused(529), None),
    ("flap:600", OVERLOADED, None),
    ("insufficient_quota", refused_for_good(429, "insufficient_quota"), None),
    ("billing_not_active", refused_for_good(429, "billing_not_active"), None),
    ("credit_balance_exhausted", refused_for_good(429, "credit_balance_exhausted"), None),
    ("organization_spend_limit_exceeded", refused_for_good(429, "organization_spend_limit_exceeded"), None),
    ("project_spend_limit_exceeded", refused_for_good(429, "project_spend_limit_exceeded"), None),
    ("organization_usage_limit_exceeded", refused_for_good(429, "organization_usage_limit_exceeded"), None),
    ("billing_hard_limit_reached", refused_for_good(429, "billing_hard_limit_reached"), None),
    ("rate_limit_exceeded", Refused(429, "rate_limit_exceeded"), None),
    ("slow_down", Refused(429, "slow_down"), None),
    ("resource_unavailable", Refused(429, "resource_unavailable"), None),
    ("invalid_api_key", refused_for_good(401, "invalid_api_key"), None),
    ("echo_key", refused_for_good(401, "invalid_api_key"), None),
    ("account_deactivated", refused_for_good(401, "account_deactivated"), None),
    (
        "unsupported_country_region_territory",
        refused_for_good(403, "unsupported_country_region_territory"),
        None,
    ),
    ("model_not_found", refused_for_good(404, "model_not_found"), None),
    ("context_length_exceeded", callers_fault(400, "context_length_exceeded"), None),
    ("content_filter", callers_fault(400, "content_filter"), None),
    ("server_is_overloaded", OVERLOADED, None),
    ("reset", silent("reset_before_answer"), None),
    ("silence", silent("attempt_timeout"), silent("first_token_timeout")),
    ("stall:0", silent("attempt_timeout"), silent("first_token_timeout")),
    ("stall:4", Refused(502, "attempt_timeout"), Cut("stalled")),
    ("cut:0", Refused(502, "not_json"), Refused(502, "stream_cut")),
    ("cut:4", Refused(502, "not_json"), Cut("stream_cut")),
    ("cut:4,end=abort", Refused(502, "reset_in_answer"), Cut("reset_in_answer")),
    ("cut:4,end=reset", Refused(502, "reset_in_answer"), Cut("reset_in_answer")),
    ("cut_bytes:40", Refused(502, "not_json"), Refused(502, "stream_cut")),
    ("cut_bytes:40,end=abort", Refused(502, "reset_in_answer"), None),
    ("cut_bytes:500", Refused(502, "not_json"), Cut("stream_cut")),
    ("malformed:0", Refused(502, "not_json"), Refused(502, "malformed_event")),
    ("malformed:4", Refused(502, "not_json"), Cut("malformed_event")),
    ("error_event:0", Refused(502, "error_in_success"), Refused(502, "error_in_stream")),
    ("error_event:4", Refused(502, "error_in_success"), Cut("error_in_stream")),
    ("no_done", FINE, Cut("stream_cut")),
    ("no_finish", Refused(502, "no_finish_reason"), Cut("no_finish_reason")),
    ("empty_choices", Refused(502, "no_choices"), Refused(502, "no_finish_reason")),
    ("error_body", Refused(502, "error_in_success"), Refused(502, "error_in_stream")),
    ("html", Refused(502, "not_json"), Refused(502, "not_a_stream")),
    ("empty", Refused(502, "not_json"), Refused(502, "stream_cut")),
]
CASES = [
    pytest.param(
        number, stream, another, id=f"{fault}-{'stream' if stream else 'whole'}-{'two' if another else 'one'}"
    )
    for number, (fault, _, _) in enumerate(TABLE)
    for stream in (False, True)
    for another in (False, True)
]


def test_every_fault_of_the_simulator_has_a_row():
    rows = {Fault.parse(fault).name for fault, _, _ in TABLE}
    assert rows >= (NAMES - {"lost"}) | CODES.keys()  # that one is of files and batches


# --- the stage ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """Two providers whose answers differ, and two gateways over them: one patient, one not."""

    one: Provider
    two: Provider
    patient: Gateway
    hasty: Gateway


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    paced = Timing(tokens_per_s=500.0)
    first, second = SimulatorOptions(timing=paced, seed=1), SimulatorOptions(timing=paced, seed=2)
    folder = tmp_path_factory.mktemp("faults")
    with Provider(first) as one, Provider(second) as two:
        settings = QUICK + provider("one", one.base_url) + provider("two", two.base_url)
        # an endpoint of its own for each case: one that was told to rest, or whose key is dead, rests long
        settings += "".join(
            [_route(number, stream) for number in range(len(TABLE)) for stream in (False, True)]
        )
        with Gateway(folder, settings) as patient, Gateway(folder, settings + HASTY) as hasty:
            yield Stage(one, two, patient, hasty)


def _model(number: int, *, stream: bool) -> str:
    return f"m{number}-{'stream' if stream else 'whole'}"


def _route(number: int, stream: bool) -> str:
    model = _model(number, stream=stream)
    return f'[routes.{model}-pair]\nbalance = ["one/{model}-pair"]\nfallback = ["two/{model}-pair"]\n'


def _asked(model: str, *, stream: bool) -> dict[str, object]:
    return {"model": model, "messages": ASKED, "stream": stream, "max_tokens": 12, "temperature": 1}


# --- the crossing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "stream", "another"), CASES)
async def test_a_fault_is_survived_or_told(stage: Stage, number: int, *, stream: bool, another: bool):
    fault, whole, streamed = TABLE[number]
    outcome = (streamed if stream else None) or whole
    gateway = stage.hasty if fault.startswith(("silence", "stall")) else stage.patient
    model = _model(number, stream=stream)
    stage.one.plan(f"{fault}{',' if ':' in fault else ':'}times=0" if fault != "flap:600" else fault)
    stage.two.plan()
    asked = _asked(f"{model}-pair" if another else f"one/{model}", stream=stream)
    seen = await ask(gateway.port, asked)
    await settled(lambda: stage.one.running == stage.two.running == 0)
    counted = len(stage.one.calls), len(stage.two.calls)
    match outcome:
        case Fine():
            assert counted == (1, 0)
            await _assert_answered_by(stage.one, seen, stream=stream)
        case Cut(code):
            assert counted == (1, 0), "an answer that began is not begun anew"
            _assert_cut(seen, code)
        case Refused() if another and outcome.elsewhere:
            assert counted == (outcome.tries_with_another or outcome.tries, 1)
            await _assert_answered_by(stage.two, seen, stream=stream)
            assert seen.headers["x-stanchion-endpoint"].startswith("two/"), "it says who answered"
        case Refused():
            assert counted == (outcome.tries, 0)
            _assert_refused(seen, outcome)


async def _assert_answered_by(who: Provider, seen: Answer, *, stream: bool) -> None:
    assert seen.is_success
    who.plan()
    undisturbed = await ask(who.port, _asked(seen.headers["x-stanchion-model"], stream=stream))
    assert seen.text == undisturbed.text != ""


def _assert_cut(seen: Answer, code: str) -> None:
    assert seen.status == 200
    assert seen.error["code"] == code
    assert seen.error["message"]
    assert not seen.done
    assert not seen.whole, "the connection is broken off, so that no client takes it for the end"


def _assert_refused(seen: Answer, outcome: Refused) -> None:
    assert (seen.status, seen.error["code"]) == (outcome.status, outcome.code)
    assert seen.error.keys() == {"message", "type", "param", "code"}
    assert seen.error["message"]
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["x-should-retry"] == "false"
    assert seen.headers["x-request-id"].startswith("req_")
    assert seen.whole


# --- beside the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_what_all_providers_refuse_is_told_in_the_words_of_the_first(stage: Stage, *, stream: bool):
    model = _model(0, stream=stream)
    stage.one.plan("429:times=0")
    stage.two.plan("500:times=0")
    seen = await ask(stage.patient.port, _asked(f"{model}-pair", stream=stream))
    assert (seen.status, seen.error["code"]) == (429, "rate_limit_exceeded")
    assert (len(stage.one.calls), len(stage.two.calls)) == (TRIES, TRIES)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["503", "reset", "cut:0", "html", "429:retry_after_ms=20"])
async def test_a_fault_that_passes_is_not_seen(stage: Stage, fault: str, *, stream: bool):
    stage.one.plan(fault)
    seen = await ask(stage.patient.port, _asked(f"one/passing-{fault[:3]}-{stream}", stream=stream))
    assert len(stage.one.calls) == 2
    assert seen.headers["x-stanchion-attempts"] == "2"
    await _assert_answered_by(stage.one, seen, stream=stream)


async def test_a_whole_answer_that_came_cut_is_asked_for_again(stage: Stage):
    stage.one.plan("cut:1,end=abort")
    seen = await ask(stage.patient.port, _asked("one/repaired", stream=False))
    assert len(stage.one.calls) == 2
    await _assert_answered_by(stage.one, seen, stream=False)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_is_not_there_is_replaced(stage: Stage, tmp_path, *, stream: bool):
    gone = "http://127.0.0.1:9/v1"
    settings = QUICK + provider("gone", gone) + provider("two", stage.two.base_url)
    settings += '[routes.pair]\nbalance = ["gone/m"]\nfallback = ["two/m"]\n'
    stage.two.plan()
    with Gateway(tmp_path, settings) as gateway:
        seen = await ask(gateway.port, _asked("pair", stream=stream))
        alone = await ask(gateway.port, _asked("gone/m", stream=stream))
    assert len(stage.two.calls) == 1
    await _assert_answered_by(stage.two, seen, stream=stream)
    assert (alone.status, alone.error["code"]) == (502, "connection_refused")
