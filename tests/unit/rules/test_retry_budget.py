"""Retries are a share of the traffic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.retry_budget import WINDOW_S, RetryBudget

# what happens: seconds that pass, then calls, then retries asked for
moments = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 1.0, 3.0, 9.5, 40.0]), st.integers(0, 60), st.integers(0, 30)),
    min_size=1,
    max_size=25,
)


@given(moments, st.sampled_from([0.0, 0.1, 0.2, 1.0]), st.integers(0, 12))
def test_in_the_window_of_every_retry_there_are_no_more_than_its_share(
    happened: list[tuple[float, int, int]], ratio: float, floor: int
) -> None:
    budget, now = RetryBudget(ratio=ratio, floor=floor), 100.0
    calls, retries = list[int](), list[int]()  # the second of each
    for passed, new, asked in happened:
        now += passed
        second = int(now)
        for _ in range(new):
            budget.call(now)
            calls.append(second)
        for _ in range(asked):
            taken = budget.take(now)
            in_window = [
                sum(second - WINDOW_S < each <= second for each in many) for many in (calls, retries)
            ]
            within = in_window[1] + 1 <= max(floor, ratio * in_window[0])
            assert taken == within  # neither more nor fewer than the budget says
            if taken:
                retries.append(second)


@given(moments, st.integers(0, 12))
def test_over_any_time_retries_are_a_share_of_all_calls_and_a_floor_a_window(
    happened: list[tuple[float, int, int]], floor: int
) -> None:
    budget, now, calls, retries = RetryBudget(ratio=0.1, floor=floor), 0.0, 0, 0
    for passed, new, asked in happened:
        now += passed
        calls += new
        for _ in range(new):
            budget.call(now)
        retries += sum(budget.take(now) for _ in range(asked))
    windows = now // WINDOW_S + 1
    assert retries <= 0.1 * calls + floor * windows + 1e-9


def test_an_outage_costs_a_tenth_more() -> None:
    budget, retries = RetryBudget(ratio=0.1, floor=10), 0
    for tick in range(6000):  # 100 calls a second for a minute, each wants two retries
        budget.call(tick / 100)
        retries += budget.take(tick / 100) + budget.take(tick / 100)
    assert retries <= 600
    assert retries >= 590


def test_a_lone_call_has_the_floor() -> None:
    budget = RetryBudget(ratio=0.1, floor=3)
    budget.call(0.0)
    assert [budget.take(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert budget.take(9.99) is False
    assert budget.take(10.0) is True


def test_without_a_floor_and_a_share_nothing_is_retried() -> None:
    budget = RetryBudget(ratio=0.0, floor=0)
    for _ in range(100):
        budget.call(0.0)
    assert budget.take(0.0) is False
