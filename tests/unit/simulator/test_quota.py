"""The simulator's quota against recorded replies and the texts of real 429s."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.simulator.quota import (
    DAY_S,
    MINUTE_S,
    Bucket,
    Limits,
    Quota,
    Window,
    admission_charge,
    duration,
    reset_s,
    wait_s,
)

DATA = Path(__file__).parents[2] / "data" / "ratelimit_headers.csv"


def rows() -> list[dict[str, str]]:
    with DATA.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_recorded_token_reset_is_the_time_until_the_bucket_is_full():
    recorded = rows()
    assert len(recorded) == 1382
    for row in recorded:
        limit, remaining = int(row["limit_tokens"]), int(row["remaining_tokens"])
        assert reset_s(limit, remaining, MINUTE_S) == pytest.approx(float(row["reset_tokens_s"]), abs=0.0061)


def test_every_recorded_request_reset_fits_a_minute_or_a_day():
    """The header's count is whole, so the time may be less than one request's share off."""
    for row in rows():
        limit, remaining = int(row["limit_requests"]), int(row["remaining_requests"])
        window = DAY_S if limit == 10_000 else MINUTE_S
        predicted = reset_s(limit, remaining, window)
        assert abs(predicted - float(row["reset_requests_s"])) <= window / limit + 0.001


def test_the_recorded_charge_is_the_predicted_one_or_carries_an_older_debt():
    """Nine in ten are exact; three rows, all of 33 characters in two messages, are one token lower."""
    exact = lower = 0
    texts = [row for row in rows() if row["non_text_parts"] == "0"]
    for row in texts:
        charged = int(row["limit_tokens"]) - int(row["remaining_tokens"])
        predicted = admission_charge(int(row["prompt_chars"]), int(row["messages"]), int(row["n"]))
        exact += charged == predicted
        lower += charged < predicted
        assert charged >= predicted - 1
    assert exact / len(texts) > 0.91
    assert lower == 3


@pytest.mark.parametrize(
    ("limit", "used", "requested", "window", "reported"),
    [
        (200_000, 199_821, 2_295, MINUTE_S, "634ms"),
        (30_000, 29_937, 385, MINUTE_S, "644ms"),
        (30_000, 14_567, 24_754, MINUTE_S, "18.642s"),
        (10_000, 8_554, 3_082, MINUTE_S, "9.816s"),
        (60_000, 54_134, 6_465, MINUTE_S, "599ms"),
        (3, 3, 1, MINUTE_S, "20s"),
        (1_000, 1_000, 1, DAY_S, "1m26.4s"),
    ],
)
def test_the_wait_of_a_429_is_the_reported_one(
    limit: int, used: int, requested: int, window: float, reported: str
):
    cut = int(wait_s(limit, used, requested, window) * 1000 + 1e-6) / 1000
    assert duration(cut) == reported


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.12, "120ms"), (1, "1s"), (360, "6m0s"), (86.4, "1m26.4s"), (17008.384, "4h43m28.384s")],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str):
    assert duration(seconds) == text


def test_the_text_of_a_refusal_is_openais():
    quota = Quota(Limits(rpm=500, tpm=30_000), organization="org-x")
    account = quota.account("key", "gpt-4o")
    account.tokens.add(29_937, 100.0)
    refused = quota.admit(account, "gpt-4o", 385, 100.0)
    assert refused is not None
    assert refused.message == (
        "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29937, "
        "Requested 385. Please try again in 644ms. Visit https://platform.openai.com/account/rate-limits to "
        "learn more."
    )
    assert (refused.kind, refused.wait_s) == ("tokens", pytest.approx(0.644))


def test_what_never_fits_is_too_large_and_names_no_wait():
    quota = Quota(Limits(tpm=100))
    refused = quota.admit(quota.account("key", "m"), "m", 101, 0.0)
    assert refused is not None
    assert refused.message.startswith("Request too large for m")
    assert refused.wait_s == 0


def test_a_call_after_the_named_wait_is_admitted():
    quota = Quota(Limits(rpm=3))
    account = quota.account("key", "m")
    assert [quota.admit(account, "m", 1, 0.0) for _ in range(3)] == [None] * 3
    refused = quota.admit(account, "m", 1, 0.0)
    assert refused is not None
    assert refused.wait_s == 20
    assert quota.admit(account, "m", 1, 20.0) is None


def test_output_is_debited_afterwards_and_may_leave_a_debt():
    account = (quota := Quota(Limits(tpm=600))).account("key", "m")
    assert quota.admit(account, "m", 10, 0.0) is None
    account.debit(1_190, 0.0)
    refused = quota.admit(account, "m", 10, 0.0)
    assert refused is not None
    assert refused.wait_s == 61
    assert quota.admit(account, "m", 10, 61.0) is None


def test_the_headers_show_the_day_where_requests_are_limited_by_day():
    quota = Quota(Limits(rpm=500, tpm=10_000, rpd=10_000))
    account = quota.account("key", "gpt-4")
    assert quota.admit(account, "gpt-4", 12, 0.0) is None
    assert dict(account.headers(0.0)) == {
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-limit-tokens": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-remaining-tokens": "9988",
        "x-ratelimit-reset-requests": "8.64s",
        "x-ratelimit-reset-tokens": "72ms",
    }


def test_keys_and_models_have_accounts_of_their_own():
    quota = Quota(Limits(rpm=1), per_model={"big": Limits(rpm=2)})
    assert quota.admit(quota.account("a", "m"), "m", 1, 0.0) is None
    assert quota.admit(quota.account("b", "m"), "m", 1, 0.0) is None
    assert quota.admit(quota.account("a", "m"), "m", 1, 0.0) is not None
    assert [quota.admit(quota.account("a", "big"), "big", 1, 0.0) for _ in range(2)] == [None, None]


def test_a_one_second_server_refuses_a_burst_the_minute_would_allow():
    quota = Quota(Limits(rpm=120), mode="burst-1s")
    account = quota.account("key", "m")
    assert [quota.admit(account, "m", 1, 0.0) for _ in range(2)] == [None, None]
    refused = quota.admit(account, "m", 1, 0.0)
    assert refused is not None
    assert refused.wait_s == 0.5
    assert quota.admit(account, "m", 1, 0.5) is None


def test_a_sliding_window_frees_nothing_until_the_oldest_has_left():
    quota = Quota(Limits(rpm=2), mode="sliding")
    account = quota.account("key", "m")
    assert quota.admit(account, "m", 1, 0.0) is None
    assert quota.admit(account, "m", 1, 30.0) is None
    refused = quota.admit(account, "m", 1, 59.0)
    assert refused is not None
    assert refused.wait_s == 1
    assert quota.admit(account, "m", 1, 60.0) is None


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=60), st.sampled_from([Bucket, Window])
)
def test_no_window_ever_admits_more_than_capacity_and_refill(
    calls: list[tuple[float, int]], kind: type[Bucket]
):
    bucket = kind(100, 60.0)
    now, admitted = 0.0, 0.0
    for gap, amount in calls:
        now += gap
        if bucket.fits(amount, now):
            bucket.add(amount, now)
            admitted += amount
        assert admitted <= 100 + now * 100 / 60 + 1e-6
        assert 0 <= bucket.used(now) <= 100 + 1e-6
