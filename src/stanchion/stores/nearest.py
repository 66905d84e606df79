"""Which of many vectors of a scope is nearest to another: bounded in number and bytes, and each for a time.

In memory, compared one by one: 10,000 vectors of 384 numbers are one product of a matrix, and no index of
neighbours is exact.  Scopes never meet: each has a matrix of its own.  What was used least recently goes first.
Use one from one thread at a time.  It holds no text.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST_ROWS = 4  # most scopes stay small
_BLOCK = 1000  # rows; larger products are shared between threads, and took 3.5 ms in place of 0.4
_ENTRY_BYTES = 256  # beside the vector: its key, twice, and when it was added


class Near(msgspec.Struct, frozen=True, gc=False):
    """The nearest of a scope."""

    key: bytes
    similarity: float  # of the directions: 1 is the same, 0 has nothing in common


class Nearest:
    """Vectors by scope and key."""

    def __init__(self, most_entries: int, most_bytes: int) -> None:
        self.bound(most_entries, most_bytes)
        self._scopes: OrderedDict[bytes, _Scope] = OrderedDict()
        self._entries = 0
        self.size = 0  # bytes

    def bound(self, most_entries: int, most_bytes: int) -> None:
        """Hold no more than this from the next one on."""
        self._most_entries = most_entries
        self._most_bytes = most_bytes

    def __len__(self) -> int:
        return self._entries

    def holds(self, scope: bytes) -> bool:
        """Say whether a scope has a vector; any thread may ask."""
        return scope in self._scopes

    def has(self, scope: bytes, key: bytes, *, after: float) -> bool:
        """Say whether a key has a vector that was added after this time."""
        found = self._scopes.get(scope)
        at = found.added_at(key) if found is not None else None
        return at is not None and at > after

    def add(self, scope: bytes, key: bytes, vector: bytes, at: float) -> None:
        """Hold a vector of 32-bit floats since `at`, a time in seconds; a new one of the same key replaces it."""
        row = _unit(vector)
        if row is None or self._most_entries < 1:
            return
        found = self._scopes.get(scope)
        if found is not None and found.rows.shape[1] != len(row):  # another model embeds since
            self._forget(scope)
            found = None
        if found is None:
            self._scopes[scope] = found = _Scope(len(row))
            self.size += found.size
        self._scopes.move_to_end(scope)
        entries, size = len(found.keys), found.size
        found.add(key, row, at)
        self._entries += len(found.keys) - entries
        self.size += found.size - size
        self._make_room()

    def find(self, scope: bytes, vector: bytes, *, after: float, before: float) -> Near | None:
        """Return the nearest of a scope that was added after the one time and not after the other."""
        found, row = self._scopes.get(scope), _unit(vector)
        if found is None or row is None or found.rows.shape[1] != len(row):
            return None
        self._scopes.move_to_end(scope)
        return found.find(row, after, before)

    def drop(self, scope: bytes, key: bytes) -> None:
        """Forget a vector."""
        found = self._scopes.get(scope)
        if found is not None and found.drop(key):
            self._entries -= 1
            if not found.keys:
                self._forget(scope)

    def _forget(self, scope: bytes) -> None:
        gone = self._scopes.pop(scope)
        self._entries -= len(gone.keys)
        self.size -= gone.size

    def _make_room(self) -> None:
        while self._entries > self._most_entries or self.size > self._most_bytes:
            name, oldest = next(iter(self._scopes.items()))
            if len(self._scopes) > 1 or len(oldest.keys) == 1:
                self._forget(name)
                continue
            entries, size = len(oldest.keys), oldest.size
            oldest.halve()  # the one that is in use: its older half
            self._entries += len(oldest.keys) - entries
            self.size += oldest.size - size


class _Scope:
    """The vectors of one scope, in rows."""

    def __init__(self, width: int) -> None:
        self.rows: NDArray[np.float32] = np.empty((_FIRST_ROWS, width), np.float32)
        self.keys: list[bytes] = []  # by row
        self._at: NDArray[np.float64] = np.empty(_FIRST_ROWS, np.float64)  # by row
        self._places: dict[bytes, int] = {}

    @property
    def size(self) -> int:
        return self.rows.nbytes + len(self.rows) * _ENTRY_BYTES

    def add(self, key: bytes, row: NDArray[np.float32], at: float) -> None:
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = len(self.keys)
            self.keys.append(key)
            if place == len(self.rows):
                self.rows = np.resize(self.rows, (2 * place, len(row)))
                self._at = np.resize(self._at, 2 * place)
        self.rows[place], self._at[place] = row, at

    def added_at(self, key: bytes) -> float | None:
        place = self._places.get(key)
        return float(self._at[place]) if place is not None else None

    def find(self, row: NDArray[np.float32], after: float, before: float) -> Near | None:
        count = len(self.keys)
        at, near = self._at[:count], np.empty(count, np.float32)
        for begin in range(0, count, _BLOCK):
            end = min(begin + _BLOCK, count)
            np.dot(self.rows[begin:end], row, out=near[begin:end])
        near[(at <= after) | (at > before)] = -2
        place = int(near.argmax())
        similarity = float(near[place])
        return Near(self.keys[place], min(similarity, 1.0)) if similarity > -2 else None

    def drop(self, key: bytes) -> bool:
        place = self._places.pop(key, None)
        if place is None:
            return False
        last = self.keys.pop()
        if last != key:  # the last takes its place
            end = len(self.keys)
            self.rows[place], self._at[place] = self.rows[end], self._at[end]
            self.keys[place] = last
            self._places[last] = place
        return True

    def halve(self) -> None:
        """Forget the older half, and give back its bytes."""
        kept = np.argsort(self._at[: len(self.keys)], kind="stable")[(len(self.keys) + 1) // 2 :]
        self.keys = [self.keys[place] for place in kept]
        self.rows, self._at = self.rows[kept], self._at[kept]
        self._places = {key: place for place, key in enumerate(self.keys)}


def _unit(vector: bytes) -> NDArray[np.float32] | None:
    """Return a vector of length 1 in its direction; None if it has none."""
    row = np.frombuffer(vector, np.float32)
    length = float(np.sqrt(row @ row)) if len(row) else 0.0
    return row / np.float32(length) if 0 < length < np.inf else None
