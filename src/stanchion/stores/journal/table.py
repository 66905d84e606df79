"""Where in the index a key stands: a hash table of 5 bytes a slot, since a million keys as objects are 100 MB.

It holds no keys: a slot has the entry's number and one byte of the key's hash, and who asks compares the key in the
index.  256 parts grow one by one, so that no row waits while a million others are moved.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from struct import Struct

_PARTS = 256
_LEAST = 16  # slots of a part
_FULL = 0.72  # of the slots; beyond it a part grows
_GROWTH = 1.6
_first_eight = Struct("<Q").unpack_from
KeyOf = Callable[[int], bytes]  # the key of an entry


class Table:
    """Numbers of entries by key.  `key_of` reads a key back from the index."""

    __slots__ = ("_entries", "_marks", "_used", "key_of")

    def __init__(self, key_of: KeyOf, expected: int = 0) -> None:
        """`expected` keys have room without growing."""
        slots = max(_LEAST, int(expected / _PARTS / _FULL * 1.06) + 1)
        self.key_of = key_of
        self._marks: list[bytearray] = [bytearray(slots) for _ in range(_PARTS)]  # 0: the slot is free
        self._entries: list[array[int]] = [array("I", bytes(4 * slots)) for _ in range(_PARTS)]
        self._used = [0] * _PARTS

    def find(self, key: bytes) -> int:
        """Return the number of a key's entry; -1 if there is none."""
        (hashed,) = _first_eight(key)
        part: int = hashed & 255
        mark: int = (hashed >> 8) & 255 or 1
        marks = self._marks[part]
        size = len(marks)
        slot: int = (hashed >> 16) % size
        while found := marks[slot]:
            if found == mark:
                number = self._entries[part][slot]
                if self.key_of(number) == key:
                    return number
            slot += 1
            if slot == size:
                slot = 0
        return -1

    def put(self, key: bytes, number: int) -> int:
        """Let `number` be the entry of this key; return which it was before, or -1."""
        (hashed,) = _first_eight(key)
        part: int = hashed & 255
        mark: int = (hashed >> 8) & 255 or 1
        marks = self._marks[part]
        size = len(marks)
        slot: int = (hashed >> 16) % size
        while found := marks[slot]:
            if found == mark:
                before = self._entries[part][slot]
                if self.key_of(before) == key:
                    self._entries[part][slot] = number
                    return before
            slot += 1
            if slot == size:
                slot = 0
        marks[slot] = mark
        self._entries[part][slot] = number
        self._used[part] = used = self._used[part] + 1
        if used > size * _FULL:
            self._grow(part)
        return -1

    def _grow(self, part: int) -> None:
        old_marks, old_entries = self._marks[part], self._entries[part]
        size = int(len(old_marks) * _GROWTH) + 1
        marks = bytearray(size)
        entries: array[int] = array("I", bytes(4 * size))
        for mark, number in zip(old_marks, old_entries, strict=True):
            if not mark:
                continue
            (hashed,) = _first_eight(self.key_of(number))
            slot: int = (hashed >> 16) % size
            while marks[slot]:
                slot = slot + 1 if slot + 1 < size else 0
            marks[slot], entries[slot] = mark, number
        self._marks[part], self._entries[part] = marks, entries

    def __len__(self) -> int:
        return sum(self._used)
