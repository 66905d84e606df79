"""Whether a time to wait is meant for all: the first one is, one among many is not, and proofs end it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.told import Told


@pytest.mark.parametrize(
    ("let_in", "refused", "waits"), [(0, 1, True), (40, 1, False), (40, 3, False), (40, 4, True)]
)
def test_a_refusal_is_weighed_against_those_that_were_let_in(let_in: int, refused: int, waits: bool) -> None:
    told = Told()
    for call in range(let_in):
        told.let_in(call / 10)
    for _ in range(refused):
        told.refused(10.0, 9.9, 20.0)
    assert told.wait_s(10.0) == (20.0 if waits else 0.0)


def test_calls_that_were_sent_later_and_let_in_end_the_wait() -> None:
    told = Told()
    told.refused(1.0, 0.9, 20.0)
    for _ in range(9):
        told.let_in(0.8)  # sent before: says nothing
    assert told.wait_s(1.0) == 20.0
    for _ in range(3):
        told.let_in(0.95)
    assert told.wait_s(1.0) == 0.0


def test_a_refusal_that_met_a_limit_is_meant_for_all() -> None:
    told = Told()
    told.let_in(0.0, 1000)
    told.refused(1.0, 1.0, 3.0, for_all=True)
    assert told.wait_s(2.0) == 2.0


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 100.0)), max_size=60))
def test_nobody_waits_longer_than_was_told(events: list[tuple[bool, float]]) -> None:
    told, last = Told(), 0.0
    for number, (refused, wait_s) in enumerate(events):
        if refused:
            told.refused(number, number, wait_s)
            last = max(last, number + wait_s)
        else:
            told.let_in(number)
        assert 0.0 <= told.wait_s(number) <= max(0.0, last - number) + 1e-9
