"""How fast a line moves."""

from __future__ import annotations

import pytest

from stanchion.rules.pace import Pace


def moved(*gaps: float, cost: float = 1.0) -> Pace:
    pace, now = Pace(0.0), 0.0
    for gap in gaps:
        now += gap
        pace.did(now, cost)
    return pace


@pytest.mark.parametrize("gap", [0.001, 0.1, 30.0])
@pytest.mark.parametrize("cost", [1.0, 5.0])
def test_a_steady_line_is_known_within_a_tenth_after_a_few_calls(gap: float, cost: float) -> None:
    assert moved(*[gap] * 10, cost=cost).wait_s(100 * cost) == pytest.approx(100 * gap, rel=0.15)
    assert moved(*[gap] * 200, cost=cost).wait_s(100 * cost) == pytest.approx(100 * gap, rel=0.05)


def test_of_too_few_calls_nothing_is_told() -> None:
    assert moved(*[1.0] * 7).wait_s(100.0) == 0.0
    assert moved(*[1.0] * 8).wait_s(100.0) > 0.0


def test_one_long_gap_is_no_slowness() -> None:
    assert moved(*[0.001] * 10, 2.0, *[0.001] * 10).wait_s(1000.0) < 1.1


def test_a_line_that_became_slow_is_known_soon() -> None:
    assert moved(*[0.01] * 200, *[1.0] * 64).wait_s(10.0) > 6.0


def test_work_that_was_not_done_after_all_does_not_count() -> None:
    pace = moved(*[1.0] * 20)
    for _ in range(10):
        pace.did(20.0, 1.0)
        pace.undid(1.0)
    assert pace.wait_s(10.0) == pytest.approx(10.0, rel=0.2)
