"""When a provider says one may ask again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stanchion.wire.retry_after import read_duration, read_retry_after

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 13:00:30 +0100"}, 30.0),
        ({"retry-after": "Tuesday, 24-Nov-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue Nov 24 12:00:30 2026"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 11:59:00 GMT"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e99"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "later"}, None),
        ({}, None),
    ],
)
def test_the_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, "", now=NOW) == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. "
         "Please try again in 2s. Visit https://example.com/limits to learn more.", 2.0),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 1m26.4s. ", 86.4),
        ("Please try again in 120ms.", 0.12),
        ("Please try again in 20ms", 0.02),
        ("please TRY AGAIN IN 7.66s.", 7.66),
        ("try again in 1h2m3s", 3723.0),
        ("try again in 1d", 86400.0),
        ("try again in 5 minutes", None),
        ("try again later", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_words_of_a_refusal(words: str, seconds: float | None) -> None:
    assert read_retry_after({}, words, now=NOW) == (None if seconds is None else pytest.approx(seconds))


def test_a_header_goes_over_the_words_unless_it_says_nothing() -> None:
    assert read_retry_after({"retry-after": "1"}, "try again in 9s", now=NOW) == 1.0
    assert read_retry_after({"retry-after": "soon"}, "try again in 9s", now=NOW) == 9.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0), ("6m0s", 360.0), ("120ms", 0.12), ("1d2h", 93600.0), ("0s", 0.0),
        ("1", None), ("s", None), ("", None), ("1s ", None), ("1x", None), ("1s1", None), ("9" * 400 + "s", None),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    assert read_duration(text) == seconds


@given(
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=30)),
    st.text(max_size=60),
)
@example({"retry-after": "Mon, 31 Dec 9999 23:59:59 GMT"}, "")
@example({"retry-after": "Fri, 31 Feb 2026 99:99:99 GMT"}, "")
@example({"retry-after": "0, 0 0 0 0 0 0"}, "")
@example({}, "try again in " + "9" * 500 + "s")
@example({}, "try again in ٣s")
def test_whatever_a_provider_says_the_answer_is_a_time_or_nothing(
    headers: dict[str, str], words: str
) -> None:
    seconds = read_retry_after(headers, words, now=NOW)
    assert seconds is None or 0 <= seconds < 1e12
