"""How many replicas are reckoned with: more at once, fewer only when all had time to beat."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stanchion.stores.replicas import Replicas


def test_fewer_than_were_guessed_are_believed_after_a_while_and_more_at_once() -> None:
    it = Replicas(10, 1.0)
    it.heard(5.0, 2, 0)
    assert it.count == 10
    it.heard(5.5, 12, 0)
    assert it.count == 12
    it.heard(6.0, 2, 0)
    assert it.count == 2


def test_fewer_than_were_told_are_never_believed() -> None:
    it = Replicas(4, 0.0)
    it.heard(1.0, 1, 4)
    assert it.count == 4


def test_a_store_that_came_back_is_believed_when_all_have_beaten_again() -> None:
    it = Replicas(1, 0.0)
    it.heard(0.0, 3, 0)
    it.came_back(10.0, 5.0)
    it.heard(10.1, 1, 0)
    assert it.count == 3
    it.heard(15.0, 1, 0)
    assert it.count == 1


@given(st.integers(0, 20), st.lists(st.integers(0, 50), max_size=30), st.integers(0, 10))
def test_there_is_always_one_and_never_fewer_than_were_told(guess: int, alive: list[int], least: int) -> None:
    it = Replicas(max(guess, least), 3.0)
    for now, each in enumerate(alive):
        it.heard(now, each, least)
        assert it.count >= max(1, least)
