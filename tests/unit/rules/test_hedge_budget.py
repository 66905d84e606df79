"""The share of extra calls is never passed, and little is saved for bad times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.hedge_budget import SAVED_MOST, HedgeBudget


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([0.01, 0.05, 0.07, 0.29, 1.0]))
def test_hedges_are_never_more_than_their_share_of_the_calls(wanted: list[bool], share: float) -> None:
    budget, hedges = HedgeBudget(), 0
    for calls, hedge in enumerate(wanted, 1):
        budget.call(share)
        hedges += hedge and budget.take()
        assert hedges <= share * calls


def test_the_share_is_reached() -> None:
    budget, hedges = HedgeBudget(), 0
    for _ in range(10_000):
        budget.call(0.05)
        hedges += budget.take()
    assert hedges == 500


def test_quiet_times_save_no_more_than_a_few() -> None:
    budget = HedgeBudget()
    for _ in range(100_000):
        budget.call(0.05)
    assert sum(budget.take() for _ in range(1000)) == SAVED_MOST


def test_one_that_was_not_made_can_be_made_later_and_nothing_is_won_by_it() -> None:
    budget = HedgeBudget()
    for _ in range(20):
        budget.call(0.05)
    assert budget.take()
    assert not budget.take()
    budget.give_back()
    assert budget.take()
    for _ in range(100):
        budget.give_back()
    assert sum(budget.take() for _ in range(1000)) == SAVED_MOST
