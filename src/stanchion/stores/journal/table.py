"""Where in the index a key stands: a hash table of 3 bytes a slot, since a million keys as objects are 100 MB.

It holds no keys: a slot has the entry's number and some bits of the key (its mark), and who is found is compared with
the whole key in the index.  256 parts grow one by one, so that no row waits while a million others are moved; a part
with an entry beyond the millionth has 4 bytes a slot, one beyond the sixteen-millionth 5.  A look goes on by a step
of the key's own, so that parts may be nearly full.  Tried and slower: 16,384 small texts that are searched, since each
look then misses the processor's cache four times.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple, Protocol

_PARTS = 256
_LEAST = 17  # slots of a part
_FULL = 0.92  # of the slots; beyond it a part grows
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


class _Kind(NamedTuple):
    """How a slot is written: the low bits of the entry's number, and a head of its high ones above those of the mark."""

    low: str  # the codes of two arrays
    head: str
    shift: int  # low bits
    mark_bits: int
    numbers: int  # are less than this


_KINDS = (_Kind("H", "B", 16, 4, 2**20), _Kind("H", "H", 16, 8, 2**24), _Kind("I", "B", 32, 8, 2**32))


class _Part(NamedTuple):
    """A table of its own.  A slot whose head is 0 is free: no mark is 0."""

    heads: array[int]
    low: array[int]
    size: int  # a prime, so that every step comes to every slot
    shift: int
    bits: int
    mask: int
    low_mask: int
    numbers: int  # are less than this


class Table:
    """Numbers of entries by key."""

    __slots__ = ("_keys", "_parts", "_used")

    def __init__(self, keys: Keys, expected: int = 0) -> None:
        """`expected` keys have room without growing."""
        mean = expected / _PARTS
        slots = int((mean + 2 * mean**0.5) / _FULL) + 1  # few parts get more keys than that by chance
        self._keys = keys
        self._parts = [_part(slots, expected) for _ in range(_PARTS)]
        self._used = [0] * _PARTS

    def find(self, key: bytes) -> int:
        """Return the number of a key's entry; -1 if there is none."""
        hashed: int = _first_eight(key)[0]
        heads, low, size, shift, bits, mask, _, _ = self._parts[hashed & 255]
        mark, slot, step = hashed >> 8 & mask or 1, (hashed >> 16) % size, 0
        while found := heads[slot]:
            if found & mask == mark:
                number = low[slot] | found >> bits << shift
                if self._keys.has(number, key):
                    return number
            step = step or 1 + (hashed >> 40) % (size - 1)
            slot += step
            if slot >= size:
                slot -= size
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
            part = hashed & 255
            heads, low, size, shift, bits, mask, low_mask, numbers = parts[part]
            if number >= numbers or used[part] > size * _FULL:
                heads, low, size, shift, bits, mask, low_mask, numbers = self._grow(part, number)
            mark, slot, step = hashed >> 8 & mask or 1, (hashed >> 16) % size, 0
            while found := heads[slot]:
                if found & mask == mark:
                    before = low[slot] | found >> bits << shift
                    if has(before, key):
                        again.append((number, before))
                        break
                step = step or 1 + (hashed >> 40) % (size - 1)
                slot += step
                if slot >= size:
                    slot -= size
            else:
                used[part] += 1
            heads[slot] = number >> shift << bits | mark
            low[slot] = number & low_mask
        return again

    def _grow(self, part: int, most: int) -> _Part:
        """Make a part anew that is full, or whose slots are too short for the number `most`."""
        old = self._parts[part]
        full = self._used[part] > old.size * _FULL
        slots = int(old.size * _GROWTH) + 1 if full else old.size
        self._parts[part] = new = _part(slots, max(most, old.numbers - 1))
        heads, low, size, shift, bits, mask, low_mask, _ = new
        for head, rest in zip(old.heads, old.low, strict=True):
            if not head:
                continue
            number = rest | head >> old.bits << old.shift
            hashed: int = _first_eight(self._keys.key_of(number))[0]
            slot, step = (hashed >> 16) % size, 1 + (hashed >> 40) % (size - 1)
            while heads[slot]:
                slot = slot + step if slot + step < size else slot + step - size
            heads[slot] = number >> shift << bits | (hashed >> 8 & mask or 1)
            low[slot] = number & low_mask
        return new

    def __len__(self) -> int:
        return sum(self._used)


def _part(slots: int, most: int) -> _Part:
    """Return an empty part with room for numbers up to `most`."""
    size = _prime(max(_LEAST, slots))
    kind = next(each for each in _KINDS if most < each.numbers)
    heads, low = (array(code, bytes(array(code).itemsize * size)) for code in (kind.head, kind.low))
    mask, low_mask = (1 << kind.mark_bits) - 1, (1 << kind.shift) - 1
    return _Part(heads, low, size, kind.shift, kind.mark_bits, mask, low_mask, kind.numbers)


def _prime(least: int) -> int:
    """Return the first prime from here on."""
    number = least | 1
    while not all(number % each for each in range(3, int(number**0.5) + 1, 2)):
        number += 2
    return number
