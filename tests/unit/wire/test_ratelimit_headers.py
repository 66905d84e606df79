"""What rate-limit headers say, in every dialect that is known."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stanchion.core.rates import Rate
from stanchion.wire.ratelimit_headers import RateReader, read_rates

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)

OPENAI = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-limit-tokens": "30000",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-remaining-tokens": "29988",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-reset-tokens": "24ms",
}
GROQ = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-limit-tokens": "18000",
    "x-ratelimit-remaining-requests": "14370",
    "x-ratelimit-remaining-tokens": "17997",
    "x-ratelimit-reset-requests": "2m59.56s",
    "x-ratelimit-reset-tokens": "7.66s",
}
AZURE = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-tokens": "10000",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-remaining-tokens": "9876",
    "x-ratelimit-reset-requests": "10",
    "x-ratelimit-reset-tokens": "1",
    "x-ratelimit-renewalperiod-requests": "10",
    "x-ratelimit-renewalperiod-tokens": "60",
}
CEREBRAS = {
    "x-ratelimit-limit-requests-day": "14400",
    "x-ratelimit-limit-tokens-minute": "60000",
    "x-ratelimit-remaining-requests-day": "14399",
    "x-ratelimit-remaining-tokens-minute": "59950",
    "x-ratelimit-reset-requests-day": "33011.382867",
    "x-ratelimit-reset-tokens-minute": "11.382867",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-11-24T12:00:01Z",
    "anthropic-ratelimit-tokens-limit": "40000",
    "anthropic-ratelimit-tokens-remaining": "39000",
    "anthropic-ratelimit-tokens-reset": "2026-11-24T12:00:01.5+00:00",
    "anthropic-ratelimit-input-tokens-limit": "40000",
    "anthropic-ratelimit-input-tokens-remaining": "39000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-24T12:00:01Z",
}
OPENROUTER = {
    "X-RateLimit-Limit": "20",
    "X-RateLimit-Remaining": "19",
    "X-RateLimit-Reset": "1795521630000",  # 30 s later, in milliseconds
}
MISTRAL = {
    "x-ratelimit-limit-tokens-minute": "500000",
    "x-ratelimit-remaining-tokens-minute": "499980",
    "ratelimit-limit": "6",
    "ratelimit-remaining": "5",
    "ratelimit-reset": "1",
}


def by_kind(rates: list[Rate]) -> list[Rate]:
    return sorted(rates, key=lambda rate: rate.kind)


@pytest.mark.parametrize(
    ("headers", "requests", "tokens"),
    [
        (OPENAI, (500, 499, 0.12, None), (30_000, 29_988, 0.024, None)),
        (GROQ, (14_400, 14_370, 179.56, None), (18_000, 17_997, 7.66, None)),
        (AZURE, (60, 59, 10.0, 10.0), (10_000, 9_876, 1.0, 60.0)),
        (CEREBRAS, (14_400, 14_399, 33_011.382867, 86_400.0), (60_000, 59_950, 11.382867, 60.0)),
        (ANTHROPIC, (50, 49, 1.0, None), (40_000, 39_000, 1.5, None)),
        (OPENROUTER, (20, 19, 30.0, None), None),
        (MISTRAL, (6, 5, 1.0, None), (500_000, 499_980, None, 60.0)),
    ],
    ids=["OpenAI", "Groq", "Azure", "Cerebras", "Anthropic", "OpenRouter", "Mistral"],
)
def test_every_dialect(
    headers: dict[str, str], requests: tuple[float, ...], tokens: tuple[float, ...] | None
) -> None:
    found = {rate.kind: rate for rate in read_rates(headers, now=NOW)}
    for kind, told in (("requests", requests), ("tokens", tokens)):
        rate = found.pop(kind, None)
        assert (rate is None) == (told is None)
        if rate is not None and told is not None:
            assert (rate.limit, rate.remaining, rate.window_s) == (told[0], told[1], told[3])
            assert rate.reset_s == (None if told[2] is None else pytest.approx(told[2]))
    assert found == {}


def test_minute_hour_and_day_of_one_kind_are_limits_of_their_own() -> None:
    headers: dict[str, str] = {}
    for window, limit in (("minute", "30"), ("hour", "900"), ("day", "14400")):
        headers[f"x-ratelimit-limit-requests-{window}"] = limit
        headers[f"x-ratelimit-remaining-requests-{window}"] = "7"
    assert [(rate.window_s, rate.limit) for rate in read_rates(headers)] == [
        (60.0, 30),
        (3600.0, 900),
        (86_400.0, 14_400),
    ]


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("0s", 0.0),
        ("6m0s", 360.0),
        ("4h43m28.384s", 17_008.384),
        ("1d2h", 93_600.0),
        ("17", 17.0),
        ("0.072", 0.072),
        ("1795521660", 60.0),  # seconds since 1970
        ("1795521600500", 0.5),  # milliseconds
        ("1795521000", 0.0),  # in the past
        ("2026-11-24T13:00:30+01:00", 30.0),
        ("2026-11-24T12:00:30", 30.0),  # no zone: UTC
        ("soon", None),
        ("", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("12:00:30", None),
    ],
)
def test_a_reset_in_every_form(reset: str, seconds: float | None) -> None:
    headers = {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "19", "x-ratelimit-reset": reset}
    (rate,) = read_rates(headers, now=NOW)
    assert rate.reset_s == (None if seconds is None else pytest.approx(seconds))


def test_a_date_without_the_time_of_day_tells_nothing() -> None:
    assert [rate.reset_s for rate in read_rates(ANTHROPIC)] == [None, None]
    assert [rate.reset_s for rate in read_rates(OPENROUTER)] == [None]


@pytest.mark.parametrize(
    ("limit", "remaining"),
    [
        ("", "1"),
        ("many", "1"),
        ("-1", "1"),
        ("0", "0"),
        ("nan", "1"),
        ("inf", "1"),
        ("1e400", "1"),
        ("9" * 30, "1"),
        ("٣٠", "1"),
        ("500", ""),
        ("500", "-1"),
        ("500", "none"),
    ],
)
def test_what_is_no_limit_is_left_out(limit: str, remaining: str) -> None:
    assert read_rates({"x-ratelimit-limit-tokens": limit, "x-ratelimit-remaining-tokens": remaining}) == []


def test_more_left_than_the_limit_is_the_limit() -> None:
    (rate,) = read_rates({"x-ratelimit-limit-tokens": "100.0", "x-ratelimit-remaining-tokens": "200"})
    assert (rate.limit, rate.remaining) == (100, 100)


def test_half_of_a_limit_is_none() -> None:
    assert read_rates({"x-ratelimit-limit-tokens": "100"}) == []
    assert read_rates({"x-ratelimit-remaining-tokens": "100"}) == []
    assert read_rates({"content-type": "text/html", "x-ratelimit-over": "1"}) == []


names = st.one_of(
    st.sampled_from([*OPENAI, *AZURE, *CEREBRAS, *ANTHROPIC, *OPENROUTER, *MISTRAL]),
    st.text(max_size=30).map(lambda text: "x-ratelimit-" + text),
    st.text(max_size=30),
)
values = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"[0-9:TZ.+msh-]{0,25}", fullmatch=True),
    st.integers().map(str),
    st.floats().map(str),
)


@given(st.dictionaries(names, values, max_size=12), st.booleans())
@example({"x-ratelimit-limit": "1", "x-ratelimit-remaining": "1", "x-ratelimit-reset": "0001-01-01"}, True)
@example(
    {
        "x-ratelimit-limit": "1",
        "x-ratelimit-remaining": "1",
        "x-ratelimit-reset": "9999-12-31T23:59:59-23:59",
    },
    True,
)
def test_whatever_a_server_sends_nothing_is_raised(headers: dict[str, str], dated: bool) -> None:
    now = NOW if dated else None
    reader = RateReader()
    for _ in range(25):
        for rate in [*read_rates(headers, now=now), *reader.read(headers, now=now)]:
            assert 0 <= rate.remaining <= rate.limit
            assert rate.limit > 0
            assert rate.reset_s is None or 0 <= rate.reset_s < float("inf")


def experienced(headers: dict[str, str]) -> RateReader:
    reader = RateReader()
    for _ in range(20):
        assert reader.careful
        assert reader.read(headers, now=NOW) == read_rates(headers, now=NOW)
    return reader


def without_reset(rates: list[Rate]) -> list[Rate]:
    return by_kind([Rate(rate.kind, rate.limit, rate.remaining, None, rate.window_s) for rate in rates])


@given(st.integers(0, 500), st.integers(0, 30_000))
def test_what_is_told_again_is_read_fast_and_the_same(requests: int, tokens: int) -> None:
    reader = experienced(OPENAI)
    assert not reader.careful
    headers = OPENAI | {
        "x-ratelimit-remaining-requests": str(requests),
        "x-ratelimit-remaining-tokens": str(tokens),
    }
    assert by_kind(reader.read(headers)) == without_reset(read_rates(headers))


@pytest.mark.parametrize(
    "news",
    [
        {"x-ratelimit-limit-requests": "5000"},
        {"x-ratelimit-remaining-tokens": "-1"},
        {"x-ratelimit-remaining-tokens": "12.5"},
        {"x-ratelimit-limit-tokens": "gone"},
    ],
)
def test_something_new_is_read_with_care(news: dict[str, str]) -> None:
    reader = experienced(OPENAI)
    headers = OPENAI | news
    assert reader.read(headers, now=NOW) == read_rates(headers, now=NOW)
    assert reader.read(OPENAI, now=NOW) != []


def test_a_limit_that_changed_is_read_fast_again() -> None:
    reader = experienced(OPENAI)
    raised = OPENAI | {"x-ratelimit-limit-requests": "5000", "x-ratelimit-remaining-requests": "4999"}
    reader.read(raised, now=NOW)
    assert by_kind(reader.read(raised)) == without_reset(read_rates(raised))


def test_one_answer_without_headers_is_no_end_of_them() -> None:
    reader = experienced(OPENAI)
    assert reader.read({}, now=NOW) == []
    for _ in range(50):
        assert without_reset(reader.read(OPENAI, now=NOW)) == without_reset(read_rates(OPENAI))
    assert not reader.careful


@pytest.mark.parametrize("silent", range(30))
def test_another_dialect_is_read_again_after_a_silence_at_any_moment(silent: int) -> None:
    reader = RateReader()
    for answer in range(60):
        headers = {} if answer == silent else ANTHROPIC
        assert reader.read(headers, now=NOW) == read_rates(headers, now=NOW)


def test_who_begins_to_tell_limits_late_is_heard() -> None:
    reader = RateReader()
    for _ in range(50):
        assert reader.read({"content-type": "application/json"}, now=NOW) == []
    assert not reader.careful
    assert by_kind(reader.read(OPENAI)) == by_kind(read_rates(OPENAI))
    assert by_kind(reader.read(OPENAI)) == without_reset(read_rates(OPENAI))


@pytest.mark.parametrize("headers", [ANTHROPIC, CEREBRAS, OPENROUTER, MISTRAL])
def test_another_dialect_is_always_read_with_care(headers: dict[str, str]) -> None:
    reader = RateReader()
    for _ in range(50):
        assert reader.careful
        assert reader.read(headers, now=NOW) == read_rates(headers, now=NOW)


def test_of_azure_the_window_is_kept_when_it_is_read_fast() -> None:
    reader = experienced(AZURE)
    assert {rate.window_s for rate in reader.read(AZURE)} == {10.0, 60.0}
