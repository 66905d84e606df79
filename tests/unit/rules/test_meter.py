"""A meter admits a limit's worth, never more, and follows what the provider says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.meter import NEAR_S, Meter


def used(cost_s: float, at: float = 0.0) -> Meter:
    meter = Meter(born_at=at)
    meter.book(at, cost_s)
    return meter


@pytest.mark.parametrize(
    ("depth_s", "cost_s", "room_s", "wait_s"),
    [
        (0.0, 1.0, 60.0, 0.0),
        (59.0, 1.0, 60.0, 0.0),
        (60.0, 1.0, 60.0, 1.0),
        (59.5, 1.0, 60.0, 0.5),
        (60.0, 0.0, 60.0, 0.0),
        (70.0, 0.0, 60.0, 10.0),
        (0.0, 61.0, 60.0, 0.0),  # larger than the room: passes when full
        (1.0, 61.0, 60.0, 1.0),
        (59.0 + NEAR_S / 2, 1.0, 60.0, 0.0),
        (NEAR_S / 2, 61.0, 60.0, 0.0),
    ],
)
def test_a_call_fits_within_the_room_or_waits_for_it(
    depth_s: float, cost_s: float, room_s: float, wait_s: float
) -> None:
    assert used(depth_s).wait_s(0.0, cost_s, room_s) == pytest.approx(wait_s)


def test_time_alone_brings_back_what_was_used() -> None:
    meter = used(10.0)
    assert [meter.depth_s(now) for now in (0.0, 4.0, 10.0, 99.0)] == [10.0, 6.0, 0.0, 0.0]
    meter.book(99.0, 1.0)
    assert (meter.depth_s(99.0), meter.booked_s, meter.idle_at) == (1.0, 11.0, 99.0)


def test_what_is_given_back_is_taken_off() -> None:
    meter = used(10.0)
    meter.book(1.0, -4.0)
    assert (meter.depth_s(1.0), meter.booked_s) == (5.0, 6.0)


@pytest.mark.parametrize(
    ("at", "booked_s", "depth_s", "full_at", "why"),
    [
        (1.0, 10.0, 30.0, 31.0, "believed"),
        (1.0, 4.0, 30.0, 37.0, "what was booked since is added"),
        (1.0, 10.0, 2.0, 3.0, "less than we think, with no idle time in between"),
        (-1.0, 10.0, 30.0, 10.0, "from before this meter was made"),
        (-1.0, 0.0, 30.0, 39.0, "from before this meter was made, when nothing was booked"),
    ],
)
def test_a_word_of_the_provider_is_followed(
    at: float, booked_s: float, depth_s: float, full_at: float, why: str
) -> None:
    meter = used(10.0)
    meter.synced_at = -5.0
    meter.heard(at, booked_s, depth_s)
    assert meter.full_at == full_at, why


def test_an_older_word_is_ignored() -> None:
    meter = used(10.0)
    meter.heard(2.0, 10.0, 20.0)
    meter.heard(1.0, 10.0, 90.0)
    assert (meter.full_at, meter.synced_at) == (22.0, 2.0)
    meter.hold(3.0, 40.0)
    meter.heard(2.5, 10.0, 1.0)
    assert (meter.full_at, meter.synced_at) == (43.0, 3.0)


def test_a_word_that_says_less_is_ignored_when_the_bucket_was_full_in_between() -> None:
    meter = used(10.0)
    meter.book(50.0, 5.0)  # it was full from 10 to 50: sums say 40 s less than is true
    meter.heard(1.0, 10.0, 9.0)
    assert meter.full_at == 55.0
    meter.heard(1.0, 10.0, 60.0)
    assert meter.full_at == 66.0


def test_with_a_gain_it_goes_a_part_of_the_way_and_never_below_the_word_itself() -> None:
    meter = used(10.0)
    meter.heard(0.0, 10.0, 6.0, 0.5)
    assert meter.full_at == 8.0
    meter.heard(0.0, 10.0, 20.0, 0.5)
    assert meter.full_at == 20.0  # half of the way were 14: the provider says more, and that of before


def test_a_hold_only_deepens() -> None:
    meter = used(10.0)
    meter.hold(1.0, 2.0)
    assert (meter.full_at, meter.synced_at) == (10.0, 0.0)
    meter.hold(1.0, 20.0)
    assert (meter.full_at, meter.synced_at) == (21.0, 1.0)


calls = st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 20.0)), max_size=60)


@given(calls, st.floats(1.0, 30.0))
def test_in_any_time_no_more_is_admitted_than_the_room_and_what_came_back(
    asked: list[tuple[float, float]], room_s: float
) -> None:
    meter, now, admitted = Meter(born_at=0.0), 0.0, list[tuple[float, float]]()
    for pause_s, cost_s in asked:
        now += pause_s
        if meter.wait_s(now, cost_s, room_s) == 0:
            meter.book(now, cost_s)
            admitted.append((now, cost_s))
    for first in range(len(admitted)):
        total = 0.0
        for at, cost_s in admitted[first:]:
            total += cost_s
            largest = max(room_s, cost_s)  # one that is larger than the room passes alone
            assert total <= (at - admitted[first][0]) + largest + 1e-3


@given(calls, st.floats(1.0, 30.0))
def test_who_waits_as_long_as_told_is_admitted(asked: list[tuple[float, float]], room_s: float) -> None:
    meter, now = Meter(born_at=0.0), 0.0
    for pause_s, cost_s in asked:
        now += pause_s
        wait_s = meter.wait_s(now, cost_s, room_s)
        assert math.isfinite(wait_s)
        now += wait_s
        assert meter.wait_s(now, cost_s, room_s) == 0
        meter.book(now, cost_s)
        assert meter.booked_s >= 0


@given(calls, st.floats(1.0, 30.0))
def test_what_is_taken_at_once_is_booked_as_if_it_had_been_asked_for(
    asked: list[tuple[float, float]], room_s: float
) -> None:
    meter, other, now = Meter(born_at=0.0), Meter(born_at=0.0), 0.0
    for pause_s, cost_s in asked:
        now += pause_s
        fits = other.wait_s(now, cost_s, room_s) == 0
        if meter.take(now, cost_s, room_s):
            assert fits
            other.book(now, cost_s)
        elif fits:  # at the very edge: who asks decides
            assert cost_s > room_s or other.depth_s(now) + cost_s == pytest.approx(room_s, abs=1e-5)
        assert meter == other
