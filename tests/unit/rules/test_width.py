"""The width of a job: it grows as long as that brings answers, and never where calls wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.width import Width


def run(width: Width, seconds: float, *, per_place: float, most: float = 1e9, waiting: float = 0) -> None:
    """Let a provider answer `per_place` calls a second for each place, and at most `most` in all."""
    at, answered = run.at, 0.0  # pyright: ignore[reportFunctionMemberAccess]
    end = at + seconds
    while at < end:
        at += 0.01
        answered += min(most, width.now * per_place) * 0.01
        while answered >= 1:
            width.answered()
            answered -= 1
            width.look(at, waiting=waiting, busy=width.now)
    run.at = at  # pyright: ignore[reportFunctionMemberAccess]


def fresh(start: int = 8, most: int = 1000) -> Width:
    run.at = 0.0  # pyright: ignore[reportFunctionMemberAccess]
    return Width(start, most)


def test_it_grows_to_its_most_where_each_place_brings_more() -> None:
    width = fresh()
    run(width, 60, per_place=2)
    assert width.now == 1000


def test_it_stops_soon_where_more_places_bring_nothing() -> None:
    width = fresh()
    run(width, 7, per_place=4, most=200)  # 50 places are all it takes
    assert 50 <= width.now <= 130


def test_it_looks_again_after_a_while() -> None:
    width = fresh()
    run(width, 7, per_place=4, most=200)
    before = width.now
    run(width, 60, per_place=4)
    assert width.now == 1000 > before


def test_it_does_not_grow_while_calls_wait_for_their_turn() -> None:
    width = fresh()
    run(width, 60, per_place=2, waiting=4)
    assert width.now == 8


def test_it_does_not_grow_while_this_process_has_no_time_left() -> None:
    worked, at, width = 0.0, 0.0, Width(8, 100, lambda: worked)
    for tick in range(4000):  # ten seconds of work at 95 %, then of little
        worked += 0.0095 if tick < 2000 else 0.002
        at += 0.01
        width.answered()
        width.look(at, waiting=0, busy=width.now)
        if tick == 2000 - 1:
            assert width.now == 8
    assert width.now > 8


def test_it_does_not_grow_while_places_are_free() -> None:
    width = Width(8, 100)
    for tick in range(10_000):
        width.answered()
        width.look(tick * 0.01, waiting=0, busy=7)
    assert width.now == 8


@given(st.integers(1, 50), st.integers(1, 50))
def test_it_is_never_more_than_its_most_nor_less_than_one(start: int, most: int) -> None:
    width = fresh(start, most)
    assert 1 <= width.now <= most
    run(width, 3, per_place=20)
    assert 1 <= width.now <= most
