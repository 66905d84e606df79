"""The log of a sliding window against a plain list of bookings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.window_log import WindowLog

WINDOW_S = 60.0
SLOT_S = WINDOW_S / 240
LATE_S = 0.12  # 0.002 of the window

Booked = list[tuple[float, int]]
bookings = st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(1, 100)), max_size=80)


def booked(steps: list[tuple[float, int]]) -> tuple[WindowLog, Booked, float]:
    log, naive, now = WindowLog(WINDOW_S), Booked(), 0.0
    for pause_s, amount in steps:
        now += pause_s
        log.add(now, amount)
        naive.append((now, amount))
    return log, naive, now


def used(naive: Booked, now: float, window_s: float) -> int:
    return sum(amount for at, amount in naive if at > now - window_s)


@given(bookings, st.floats(0.0, 90.0))
def test_it_counts_the_window_and_never_less(steps: list[tuple[float, int]], later: float) -> None:
    log, naive, now = booked(steps)
    now += later
    least, most = used(naive, now, WINDOW_S), used(naive, now, WINDOW_S + LATE_S + SLOT_S + 1e-9)
    assert least <= log.used(now) <= most


@given(bookings, st.floats(0.0, 90.0), st.integers(0, 2000))
def test_who_waits_as_long_as_told_finds_the_room_and_waits_no_longer_than_needed(
    steps: list[tuple[float, int]], later: float, room: int
) -> None:
    log, naive, now = booked(steps)
    now += later
    wait_s = log.wait_s(now, room)
    assert 0 <= wait_s <= WINDOW_S + LATE_S + 1e-9
    assert log.used(now + wait_s + 1e-9) <= room
    if wait_s > LATE_S + SLOT_S + 1e-6:
        before = now + wait_s - LATE_S - SLOT_S - 1e-6
        assert used(naive, before, WINDOW_S) > room


@given(bookings, st.data())
def test_what_is_taken_back_leaves_no_trace(steps: list[tuple[float, int]], data: st.DataObject) -> None:
    log, naive, now = booked(steps)
    if naive:
        at, amount = naive.pop(data.draw(st.integers(0, len(naive) - 1)))
        log.take_back(at, amount)
    most = used(naive, now, WINDOW_S + LATE_S + SLOT_S + 1e-9)
    assert used(naive, now, WINDOW_S) <= log.used(now) <= most
    assert log.used(now + 61.0) == 0


def test_a_booking_leaves_a_window_later_and_a_little() -> None:
    log = WindowLog(WINDOW_S)
    assert log.add(0.0, 5) == 5
    assert log.add(30.0, 7) == 12
    assert [log.used(now) for now in (59.9, 60.1, 60.2, 89.9, 90.2)] == [12, 12, 7, 7, 0]


def test_bookings_of_one_slot_leave_together_with_the_last() -> None:
    log = WindowLog(WINDOW_S)
    log.add(0.0, 5)
    log.add(SLOT_S - 0.01, 7)
    assert log.used(60.2) == 12
    assert log.used(60.0 + SLOT_S - 0.01 + LATE_S) == 0


def test_an_amount_larger_than_the_window_holds_is_not_waited_for_in_vain() -> None:
    log = WindowLog(WINDOW_S)
    log.add(0.0, 5)
    assert log.wait_s(1.0, -1.0) == pytest.approx(WINDOW_S + LATE_S)
    assert log.wait_s(1.0, 5) == 0
    assert log.wait_s(1.0, 4) == pytest.approx(59.0 + LATE_S)


def test_told_to_stay_longer_they_do_within_a_bound() -> None:
    log = WindowLog(WINDOW_S)
    log.add(0.0, 5)
    log.stay_longer(0.5)
    assert (log.used(60.5), log.used(60.7)) == (5, 0)
    log.add(100.0, 5)
    log.stay_longer(1000.0)
    assert (log.used(161.1), log.used(161.3)) == (5, 0)


def test_taking_back_what_left_already_changes_nothing() -> None:
    log = WindowLog(WINDOW_S)
    log.add(0.0, 5)
    log.add(100.0, 7)
    log.take_back(0.0, 5)
    assert log.used(100.0) == 7


def test_memory_is_bounded_however_much_is_booked() -> None:
    log = WindowLog(WINDOW_S)
    for call in range(100_000):
        log.add(call / 500, 1)
    slots = getattr(log, "_slots")  # noqa: B009 - its size is what this is about
    assert len(slots) <= 242
