"""Keys by the thousand: found as in a dictionary or a set, in a few bytes each."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.stores.journal.many_keys import KeySet, ManyKeys
from stanchion.stores.journal.table import Table

MANY = 100_000


def key(number: int) -> bytes:
    return blake2b(str(number).encode(), digest_size=16).digest()


class Shifted:
    """Keys whose numbers begin anywhere, as a table knows an index."""

    def __init__(self, first: int) -> None:
        self._first = first

    def has(self, number: int, key: bytes) -> bool:
        return self.key_of(number) == key

    def key_of(self, number: int) -> bytes:
        return key(number - self._first)


@pytest.mark.parametrize("edge", [2**20, 2**24])
@pytest.mark.parametrize("expected", [0, 5000, 2**18])
def test_numbers_that_no_longer_fit_a_slot_are_found_and_so_are_those_before_them(
    edge: int, expected: int
) -> None:
    first = edge - 2000
    table = Table(Shifted(first), expected)
    for number in range(5000):
        assert table.put(key(number), first + number) == -1
    assert table.put(key(7), first + 7) == first + 7
    assert len(table) == 5000
    assert all(table.find(key(number)) == first + number for number in range(5000))
    assert not any(table.find(key(number)) >= 0 for number in range(5000, 8000))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 300), max_size=40), max_size=20), st.integers(0, 500))
def test_many_keys_are_found_by_the_number_they_had_last(groups: list[list[int]], expected: int) -> None:
    many, wanted = ManyKeys(None, expected), dict[bytes, int]()
    for group in groups:
        keys = [key(each) for each in group]
        wanted |= {each: many.count + at for at, each in enumerate(keys)}
        many.extend(keys)
    assert all(many.find(key(number)) == wanted.get(key(number), -1) for number in range(301))
    many.close()
    assert (many.count, many.find(key(1))) == (0, -1)


@settings(deadline=None)
@given(st.lists(st.integers(-1, 60), max_size=400))
def test_a_set_never_lacks_a_key_that_was_not_let_go(steps: list[int]) -> None:
    found, there = KeySet(None, few=4), list[int]()
    for number, step in enumerate(steps):
        if step < 0 or not there:
            assert key(number) not in found
            found.add(key(number))
            there.append(number)
        else:
            found.discard(key(there.pop(step % len(there))))
        assert all(key(each) in found for each in there)
    for each in there:
        found.discard(key(each))
    assert not any(key(number) in found for number in range(len(steps)))  # as if none had ever been there
    found.close()


def test_the_file_of_a_set_has_no_name_and_is_made_when_there_are_many(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    found = KeySet(folder, few=4)
    for number in range(4):
        found.add(key(number))
    folder.mkdir()
    for number in range(4, 100):
        found.add(key(number))
    assert not list(folder.iterdir())
    assert all(key(number) in found for number in range(100))
    found.close()


def bytes_a_key(fill: Callable[[], object]) -> float:
    gc.collect()
    tracemalloc.start()
    try:
        kept = fill()
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    del kept
    return used / MANY


@pytest.mark.parametrize(("expected", "most"), [(MANY, 10.0), (0, 12.0)])
def test_a_key_among_many_takes_a_few_bytes(expected: int, most: float) -> None:
    keys = KeySet(None, expected, few=1000)

    def fill() -> None:
        for number in range(MANY):
            keys.add(key(number))

    assert bytes_a_key(fill) < most
    assert key(MANY - 1) in keys
    keys.close()


def test_an_entry_of_a_journal_takes_five_bytes_of_memory() -> None:
    def fill() -> Table:
        table = Table(Shifted(0), MANY)
        for number in range(MANY):
            table.put(key(number), number)
        return table

    assert bytes_a_key(fill) < 5.5  # one of them is for the parts, which are few
