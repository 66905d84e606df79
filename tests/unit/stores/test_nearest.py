"""The nearest of many vectors: the right one, of the right scope, within its bounds."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.stores.nearest import Nearest

ALWAYS = {"after": -math.inf, "before": math.inf}


def at_angle(degrees: float, length: float = 1.0) -> bytes:
    turn = math.radians(degrees)
    return array("f", (length * math.cos(turn), length * math.sin(turn))).tobytes()


def filled(*degrees: float, most: int = 100, most_bytes: int = 1 << 20) -> Nearest:
    known = Nearest(most, most_bytes)
    for number, each in enumerate(degrees):
        known.add(b"s", b"%d" % number, at_angle(each), float(number))
    return known


def test_the_nearest_direction_is_found_whatever_its_length() -> None:
    known = filled(0, 30, 60)
    known.add(b"s", b"long", at_angle(41, 9.0), 4.0)
    near = known.find(b"s", at_angle(40, 0.1), **ALWAYS)
    assert near is not None
    assert near.key == b"long"
    assert near.similarity == pytest.approx(math.cos(math.radians(1)), abs=1e-6)
    same = known.find(b"s", at_angle(60), **ALWAYS)
    assert same is not None
    assert same.key == b"2"
    assert same.similarity == pytest.approx(1.0, abs=1e-6)
    assert same.similarity <= 1


def test_another_scope_is_never_looked_into() -> None:
    known = filled(0)
    known.add(b"other", b"x", at_angle(1), 0.0)
    assert known.find(b"none", at_angle(0), **ALWAYS) is None
    assert (known.holds(b"other"), known.holds(b"none"), len(known)) == (True, False, 2)


def test_only_what_was_added_in_the_time_is_found() -> None:
    known = filled(0, 10, 20)
    for after, before, key in ((-1, 0, b"0"), (0, 2, b"1"), (1, 2, b"2")):
        near = known.find(b"s", at_angle(0), after=after, before=before)
        assert near is not None
        assert near.key == key
    assert known.find(b"s", at_angle(0), after=2, before=9) is None
    assert [known.has(b"s", b"1", after=after) for after in (0, 1)] == [True, False]
    assert not known.has(b"s", b"9", after=0)
    assert not known.has(b"other", b"1", after=0)


def test_the_same_key_is_held_once_and_what_is_dropped_is_gone() -> None:
    known = filled(0, 10, 20)
    known.add(b"s", b"1", at_angle(90), 5.0)
    assert len(known) == 3
    for key in (b"0", b"0", b"unknown"):
        known.drop(b"s", key)
    known.drop(b"unknown", b"0")
    near = known.find(b"s", at_angle(9), **ALWAYS)
    assert (near.key if near else None, len(known)) == (b"2", 2)
    for key in (b"1", b"2"):
        known.drop(b"s", key)
    assert (known.holds(b"s"), known.size, len(known)) == (False, 0, 0)


def test_a_vector_of_another_model_begins_anew_and_one_of_nothing_is_left_out() -> None:
    known = filled(0, 10)
    known.add(b"s", b"wide", array("f", (1, 0, 0)).tobytes(), 3.0)
    assert known.find(b"s", at_angle(0), **ALWAYS) is None
    assert len(known) == 1
    for nothing in (b"", array("f", (0, 0)).tobytes(), array("f", (math.nan, 1)).tobytes()):
        known.add(b"s", b"nothing", nothing, 4.0)
        assert known.find(b"s", nothing, **ALWAYS) is None
    assert len(known) == 1


def test_the_scope_that_was_used_least_recently_goes_first() -> None:
    known = Nearest(3, 1 << 20)
    for scope in (b"a", b"b", b"c"):
        known.add(scope, b"k", at_angle(0), 0.0)
    known.find(b"a", at_angle(0), **ALWAYS)
    known.add(b"d", b"k", at_angle(0), 0.0)
    assert [known.holds(scope) for scope in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


def test_of_one_scope_alone_the_older_half_goes() -> None:
    known = filled(*range(9), most=8)
    assert len(known) == 4
    assert known.size == sum(scope.size for scope in known._scopes.values())
    assert [known.find(b"s", at_angle(n), after=n - 1, before=n) is not None for n in range(9)] == (
        [False] * 5 + [True] * 4
    )


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 30), st.booleans())))
def test_it_is_never_more_than_its_bounds_and_its_sums_are_right(
    steps: list[tuple[bytes, int, bool]],
) -> None:
    known, most_bytes = Nearest(10, 4000), 4000
    for at, (scope, key, adds) in enumerate(steps):
        if adds:
            known.add(scope, b"%d" % key, at_angle(key), float(at))
        else:
            known.drop(scope, b"%d" % key)
        held = known._scopes.values()
        assert len(known) == sum(len(each.keys) for each in held) <= 10
        assert known.size == sum(each.size for each in held) <= most_bytes
