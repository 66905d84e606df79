"""Where in the index a key stands: a hash table of 5 bytes a slot, since a million keys as objects are 100 MB.

It holds no keys: a slot has the entry's number and one byte of the key, and who is found is compared with the whole
key in the index.  256 parts grow one by one, so that no row waits while a million others are moved.  Tried and slower:
16,384 small texts that are searched, since each look then misses the processor's cache four times.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from struct import Struct
from typing import Protocol

_PARTS = 256
_LEAST = 16  # slots of a part
_FULL = 0.85  # of the slots; beyond it a part grows
_GROWTH = 1.3
_first_eight = Struct("<Q").unpack_from


class Keys(Protocol):
    """The index, as far as a table knows it."""

    def has(self, number: int, key: bytes) -> bool:
        """Say whether an entry is this key's."""
        ...

    def key_of(self, number: int) -> bytes:
        """Return the key of an entry."""
        ...


class Table:
    """Numbers of entries by key."""

    __slots__ = ("_keys", "_parts", "_used")

    def __init__(self, keys: Keys, expected: int = 0) -> None:
        """`expected` keys have room without growing."""
        slots = max(_LEAST, int(expected / _PARTS / _FULL * 1.03) + 1)
        self._keys = keys
        self._parts = [_part(slots) for _ in range(_PARTS)]
        self._used = [0] * _PARTS

    def find(self, key: bytes) -> int:
        """Return the number of a key's entry; -1 if there is none."""
        hashed: int = _first_eight(key)[0]
        mark = (hashed >> 8) & 255 or 1
        marks, entries, size = self._parts[hashed & 255]
        slot = (hashed >> 16) % size
        while found := marks[slot]:
            if found == mark:
                number = entries[slot]
                if self._keys.has(number, key):
                    return number
            slot += 1
            if slot == size:
                slot = 0
        return -1

    def put(self, key: bytes, number: int) -> int:
        """Let `number` be the entry of this key; return which it was before, or -1."""
        again = self.extend((key,), number)
        return again[0][1] if again else -1

    def extend(self, keys: Sequence[bytes], first: int) -> list[tuple[int, int]]:
        """Put keys whose entries follow each other from `first`; return which of them were there, and as what."""
        again: list[tuple[int, int]] = []
        parts, used, has = self._parts, self._used, self._keys.has
        for number, key in enumerate(keys, first):
            hashed: int = _first_eight(key)[0]
            mark = (hashed >> 8) & 255 or 1
            part = hashed & 255
            marks, entries, size = parts[part]
            slot = (hashed >> 16) % size
            while found := marks[slot]:
                if found == mark and has(entries[slot], key):
                    again.append((number, entries[slot]))
                    break
                slot += 1
                if slot == size:
                    slot = 0
            else:
                marks[slot] = mark
                used[part] += 1
            entries[slot] = number
            if used[part] > size * _FULL:
                self._grow(part)
        return again

    def _grow(self, part: int) -> None:
        old_marks, old_entries, old_size = self._parts[part]
        self._parts[part] = marks, entries, size = _part(int(old_size * _GROWTH) + 1)
        for mark, number in zip(old_marks, old_entries, strict=True):
            if not mark:
                continue
            hashed: int = _first_eight(self._keys.key_of(number))[0]
            slot = (hashed >> 16) % size
            while marks[slot]:
                slot = slot + 1 if slot + 1 < size else 0
            marks[slot], entries[slot] = mark, number

    def __len__(self) -> int:
        return sum(self._used)


def _part(slots: int) -> tuple[bytearray, array[int], int]:
    """Return an empty part: marks (0: the slot is free), numbers of entries, slots."""
    return bytearray(slots), array("I", bytes(4 * slots)), slots
