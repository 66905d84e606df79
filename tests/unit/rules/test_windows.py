"""Calendar windows: everybody who reckons in the same zone names the same one."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.windows import WindowKind, window_of

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")
KINDS: list[WindowKind] = ["minute", "hour", "day", "month"]
zones = st.sampled_from(
    [UTC, BERLIN, SHANGHAI, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/Santiago")]
)


def at(text: str, zone: tzinfo = UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("kind", "id", "begins", "ends"),
    [
        ("minute", "2026-11-30T23:59+0000", "2026-11-30T23:59:00", "2026-12-01T00:00:00"),
        ("hour", "2026-11-30T23+0000", "2026-11-30T23:00:00", "2026-12-01T00:00:00"),
        ("day", "2026-11-30", "2026-11-30T00:00:00", "2026-12-01T00:00:00"),
        ("month", "2026-11", "2026-11-01T00:00:00", "2026-12-01T00:00:00"),
    ],
)
def test_a_moment_lies_in_its_window(kind: WindowKind, id: str, begins: str, ends: str) -> None:
    window = window_of(kind, at("2026-11-30T23:59:30"))
    assert (window.id, window.begins_at, window.ends_at) == (id, at(begins), at(ends))


def test_the_whole_time_is_one_window() -> None:
    assert window_of("total", 0.0) == window_of("total", 2e9)
    assert window_of("total", 0.0).ends_at == math.inf


def test_a_month_in_another_zone_begins_at_its_own_midnight() -> None:
    last = at("2026-10-31T17:00:00")  # in Shanghai it is November already
    assert (window_of("month", last).id, window_of("month", last, SHANGHAI).id) == ("2026-10", "2026-11")
    assert window_of("month", last, SHANGHAI).begins_at == at("2026-10-31T16:00:00")


def test_a_day_on_which_clocks_change_is_shorter_or_longer() -> None:
    spring = window_of("day", at("2026-03-29T12:00:00", BERLIN), BERLIN)
    autumn = window_of("day", at("2026-10-25T12:00:00", BERLIN), BERLIN)
    assert [each.ends_at - each.begins_at for each in (spring, autumn)] == [23 * 3600, 25 * 3600]


def test_an_hour_that_comes_twice_is_two_windows() -> None:
    first = window_of("hour", at("2026-10-25T00:30:00"), BERLIN)
    second = window_of("hour", at("2026-10-25T01:30:00"), BERLIN)
    assert (first.id, second.id) == ("2026-10-25T02+0200", "2026-10-25T02+0100")
    assert first.ends_at == second.begins_at


@given(st.sampled_from(KINDS), st.floats(1.7e9, 2.1e9), zones)
def test_a_moment_lies_between_the_ends_of_its_window_and_the_next_is_another(
    kind: WindowKind, moment: float, zone: tzinfo
) -> None:
    window = window_of(kind, moment, zone)
    assert window.begins_at <= moment < window.ends_at
    assert window_of(kind, window.begins_at, zone).id == window.id
    assert window_of(kind, window.ends_at, zone).id != window.id
