"""Which endpoint takes a call."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.endpoint_choice import Candidate, choose, soonest_s

candidates = st.lists(
    st.builds(
        Candidate,
        ready_in_s=st.sampled_from([0.0, 0.5, 3.0, math.inf]),
        in_flight=st.integers(0, 5),
        weight=st.sampled_from([0.5, 1.0, 2.0]),
        avoid=st.booleans(),
    ),
    max_size=6,
)


@pytest.mark.parametrize(
    ("given_", "chosen"),
    [
        ([], None),
        ([Candidate(1.0, 0)], None),
        ([Candidate(math.inf, 0), Candidate(0.0, 9)], 1),
        ([Candidate(0.0, 3), Candidate(0.0, 1)], 1),
        ([Candidate(0.0, 3, 4.0), Candidate(0.0, 1)], 0),  # 4/4 against 2/1
        ([Candidate(0.0, 0, avoid=True), Candidate(0.0, 99)], 1),
        ([Candidate(0.0, 0, avoid=True), Candidate(9.0, 0)], 0),
        ([Candidate(0.0, 0, fill=0.5), Candidate(0.0, 99, fill=0.2)], 1),
        ([Candidate(0.0, 0, fill=0.29), Candidate(0.0, 9, fill=0.21)], 0),  # equally full: the load decides
        ([Candidate(0.0, 0, fill=0.0, avoid=True), Candidate(0.0, 9, fill=0.9)], 1),
    ],
)
def test_ready_then_not_tried_then_least_loaded_for_its_weight(
    given_: list[Candidate], chosen: int | None
) -> None:
    assert [choose(given_, turn=turn) for turn in range(3)] == [chosen] * 3


def test_equals_take_turns() -> None:
    equal = [Candidate(0.0, 0)] * 3
    assert [choose(equal, turn=turn) for turn in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@given(candidates, st.integers(0, 100))
def test_nobody_better_was_passed_over(given_: list[Candidate], turn: int) -> None:
    chosen = choose(given_, turn=turn)
    ready = [each for each in given_ if each.ready_in_s == 0]
    if chosen is None:
        assert not ready
        return
    taken = given_[chosen]
    assert taken.ready_in_s == 0
    assert not taken.avoid or all(each.avoid for each in ready)
    rivals = [each for each in ready if each.avoid == taken.avoid]
    assert (taken.in_flight + 1) / taken.weight == min((each.in_flight + 1) / each.weight for each in rivals)


@given(candidates)
def test_the_soonest_is_the_smallest_wait(given_: list[Candidate]) -> None:
    assert soonest_s(given_) == min([each.ready_in_s for each in given_], default=math.inf)


def test_load_is_shared_by_weight() -> None:
    open_, weights = [0, 0], [1.0, 3.0]
    for turn in range(400):
        chosen = choose([Candidate(0.0, n, w) for n, w in zip(open_, weights, strict=True)], turn=turn)
        assert chosen is not None
        open_[chosen] += 1
    assert open_ == [100, 300]
