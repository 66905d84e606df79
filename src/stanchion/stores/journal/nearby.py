"""Keys that are looked up one after the other in about the order in which they were written: a job taken up again.

Only where each entry is the last of its key.  A chunk of the index whose entries were hit again and again is read as a dictionary, and the next hits cost a tenth of
a look into the table.  Where rows come in another order than they were answered in, no chunk is.
"""

from __future__ import annotations

from stanchion.stores.journal.index import Index
from stanchion.stores.journal.table import Table

_SHIFT = 10
_CHUNK = 1 << _SHIFT  # entries
_CHUNKS = 3  # kept, 400 kB
_NEVER = -2
_HITS = 24  # one after the other in a chunk, after which it is read


class Nearby:
    """Finds keys in a table, with a short memory."""

    def __init__(self, table: Table, index: Index) -> None:
        self._table = table
        self._index = index
        self._near: dict[bytes, int] = {}
        self._chunks: dict[int, list[bytes]] = {}
        self._last = -1
        self._hits = 0

    def find(self, key: bytes) -> int:
        """Return the number of a key's entry; -1 if there is none."""
        number = self._near.get(key)
        if number is not None:
            return number
        number = self._table.find(key)
        chunk = number >> _SHIFT  # -1 where there is none
        if chunk != self._last:
            if self._last != _NEVER:
                self._last, self._hits = chunk, 0
        elif chunk >= 0:
            self._hits += 1
            if self._hits == _HITS and chunk not in self._chunks:
                self._read(chunk)
        return number

    def forget(self) -> None:
        """Ask the table alone from now on: an entry is no longer its key's only one."""
        self._near.clear()
        self._last = _NEVER

    def _read(self, chunk: int) -> None:
        if len(self._chunks) >= _CHUNKS:
            for key in self._chunks.pop(next(iter(self._chunks))):
                self._near.pop(key, None)
        first = chunk << _SHIFT
        keys = self._index.keys(first, _CHUNK)
        self._chunks[chunk] = keys
        self._near.update(zip(keys, range(first, first + len(keys)), strict=True))
