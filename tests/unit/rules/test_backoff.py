"""How long a retry waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.backoff import backoff_s, told_s

seconds = st.floats(0.001, 1000.0)
jitters = st.floats(0.0, 1.0, exclude_max=True)


@pytest.mark.parametrize(
    ("failed", "jitter", "wait_s"),
    [
        (1, 0.5, 0.25),
        (2, 0.5, 0.5),
        (3, 0.5, 1.0),
        (7, 0.5, 15.0),
        (1000, 0.5, 15.0),
        (1, 0.0, 0.0),
        (9, 0.0, 0.0),
    ],
)
def test_the_bound_doubles_up_to_the_most_and_the_wait_is_a_share_of_it(
    failed: int, jitter: float, wait_s: float
) -> None:
    assert backoff_s(failed, base_s=0.5, most_s=30.0, jitter=jitter) == wait_s


@given(st.integers(1, 10_000), seconds, seconds, jitters)
def test_a_wait_is_never_negative_and_never_over_its_bound(
    failed: int, base_s: float, most_s: float, jitter: float
) -> None:
    wait_s = backoff_s(failed, base_s=base_s, most_s=most_s, jitter=jitter)
    assert 0.0 <= wait_s <= most_s
    assert wait_s <= base_s * 2.0 ** (failed - 1 if failed < 1000 else 999)


@given(st.integers(1, 100), seconds, seconds, jitters)
def test_a_later_try_never_waits_less(failed: int, base_s: float, most_s: float, jitter: float) -> None:
    waits = [backoff_s(n, base_s=base_s, most_s=most_s, jitter=jitter) for n in (failed, failed + 1)]
    assert waits == sorted(waits)


@pytest.mark.parametrize(
    ("told", "jitter", "wait_s"),
    [(2.0, 0.0, 2.0), (2.0, 0.5, 2.25), (20.0, 0.5, 21.0), (0.0, 0.5, 0.25), (0.0, 0.0, 0.0)],
)
def test_a_named_time_is_a_floor_with_jitter_on_top(told: float, jitter: float, wait_s: float) -> None:
    assert told_s(told, base_s=0.5, jitter=jitter) == wait_s


@given(seconds, seconds, jitters)
def test_nobody_comes_before_the_named_time_or_long_after_it(
    told: float, base_s: float, jitter: float
) -> None:
    assert told <= told_s(told, base_s=base_s, jitter=jitter) <= told + max(0.1 * told, base_s)
