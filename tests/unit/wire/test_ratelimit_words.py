"""What the words of a 429 say of the limit that refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.rates import RateRefusal
from stanchion.simulator.quota import DAY_S, MINUTE_S, Limits, Quota
from stanchion.wire.ratelimit_words import read_refusal
from stanchion.wire.retry_after import read_retry_after

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LINK = "Visit https://platform.openai.com/account/rate-limits to learn more."


@pytest.mark.parametrize(
    ("name", "limit", "used", "requested", "wait", "window_s"),
    [
        ("tokens per min (TPM)", 200_000, 199_821, 2_295, "634ms", MINUTE_S),
        ("tokens per min (TPM)", 30_000, 29_937, 385, "644ms", MINUTE_S),
        ("tokens per min (TPM)", 30_000, 14_567, 24_754, "18.642s", MINUTE_S),
        ("tokens per min (TPM)", 10_000, 8_554, 3_082, "9.816s", MINUTE_S),
        ("tokens per min (TPM)", 60_000, 54_134, 6_465, "599ms", MINUTE_S),
        ("requests per min (RPM)", 3, 3, 1, "20s", MINUTE_S),
        ("requests per day (RPD)", 1_000, 1_000, 1, "1m26.4s", DAY_S),
    ],
)
def test_the_words_of_recorded_refusals(
    name: str, limit: int, used: int, requested: int, wait: str, window_s: float
) -> None:
    text = (
        f"Rate limit reached for gpt-4 in organization org-x on {name}: Limit {limit}, Used {used}, "
        f"Requested {requested}. Please try again in {wait}. {LINK}"
    )
    kind = "tokens" if name.startswith("tokens") else "requests"
    told = read_refusal(text)
    assert told == RateRefusal(kind, window_s, limit, used, requested)
    assert told is not None
    assert not told.too_large
    waited = read_retry_after({}, text, now=NOW)
    assert waited == pytest.approx((used + requested - limit) / limit * window_s, abs=0.001)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Rate limit reached for default-gpt-3.5-turbo in organization org-x on requests per min. "
            "Limit: 3 / min. Please try again in 20s. Contact us through our help center.",
            RateRefusal("requests", 60.0, 3),
        ),
        (
            "Rate limit reached for default-text-davinci-003 in organization org-x on tokens per min. "
            "Limit: 40,000 / min. Current: 40,960 / min.",
            RateRefusal("tokens", 60.0, 40_000, 40_960),
        ),
        (
            "Rate limit reached for model `llama-3.1-70b` in organization `org_x` on tokens per day (TPD): "
            "Limit 200000, Used 199900, Requested 500. Please try again in 2m52.8s.",
            RateRefusal("tokens", 86_400.0, 200_000, 199_900, 500),
        ),
        (
            "Rate limit reached on requests per second: Limit 8, Used 8, Requested 1.",
            RateRefusal("requests", 1.0, 8, 8, 1),
        ),
        ("RATE LIMIT: Tokens Per Hour: LIMIT: 100", RateRefusal("tokens", 3600.0, 100)),
    ],
)
def test_older_and_other_wordings(text: str, told: RateRefusal) -> None:
    assert read_refusal(text) == told


def test_a_call_that_can_never_fit() -> None:
    told = read_refusal(
        "Request too large for gpt-4 in organization org-x on tokens per min (TPM): Limit 10000, "
        "Requested 13560. The input or output tokens must be reduced in order to run successfully."
    )
    assert told == RateRefusal("tokens", 60.0, 10_000, None, 13_560)
    assert told is not None
    assert told.too_large


@pytest.mark.parametrize(
    "text",
    [
        "",
        "You exceeded your current quota, please check your plan and billing details.",
        "Too many requests",
        "The server is overloaded, limit your requests",
        "tokens per min",
        "requests per min: Limit 0, Used 0",
        "Requests to the ChatCompletions_Create Operation have exceeded call rate limit of your pricing tier. "
        "Please retry after 10 seconds.",
    ],
)
def test_words_that_name_no_limit(text: str) -> None:
    assert read_refusal(text) is None


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from(["bucket", "sliding", "burst-1s"]))
def test_the_simulators_own_words(rpm: int, charge: int, mode: str) -> None:
    quota = Quota(Limits(rpm=rpm, tpm=1000), mode=mode)  # pyright: ignore[reportArgumentType]
    account = quota.account("k", "m")
    quota.admit(account, "m", 900, 0.0)
    refusal = quota.admit(account, "m", charge, 0.0)
    if refusal is not None:
        told = read_refusal(refusal.message)
        assert told is not None
        assert told.kind == refusal.kind
        assert told.too_large == (refusal.wait_s == 0.0)


@given(st.text(max_size=200))
def test_no_words_raise(text: str) -> None:
    read_refusal(text)
    read_refusal(f"tokens per min: Limit {text}, Used {text}, Requested {text}")
