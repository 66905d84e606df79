"""Who may join those who wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.crowd import Crowd

BOUNDS = {"most": 3, "caller_most": 2, "bytes_most": 10}


@pytest.mark.parametrize(
    ("there", "caller", "size", "reason"),
    [
        ("", "a", 10, ""),
        ("", "a", 11, "line_bytes_full"),
        ("aa", "a", 1, "caller_line_full"),
        ("aa", "b", 1, ""),
        ("aab", "b", 1, "line_full"),
        ("aab", "a", 1, "caller_line_full"),
        ("ab", "c", 9, "line_bytes_full"),
    ],
)
def test_the_first_bound_that_is_reached_is_named(there: str, caller: str, size: int, reason: str) -> None:
    crowd = Crowd()
    for each in there:
        crowd.came(each, 1)
    assert crowd.refusal(caller, size, **BOUNDS) == reason


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.booleans())))
def test_no_bound_is_passed_and_all_is_counted_out_again(
    happened: list[tuple[str, int, bool]],
) -> None:
    crowd, there = Crowd(), list[tuple[str, int]]()
    for caller, size, leaves in happened:
        if leaves and there:
            crowd.went(*there.pop())
        elif not crowd.refusal(caller, size, **BOUNDS):
            crowd.came(caller, size)
            there.append((caller, size))
        assert (crowd.waiting, crowd.bytes) == (len(there), sum(size for _, size in there))
        assert crowd.waiting <= 3
        assert crowd.bytes <= 10
        assert all(count <= 2 for count in crowd.of.values())
    for each in there:
        crowd.went(*each)
    assert (crowd.waiting, crowd.bytes, crowd.of) == (0, 0, {})
