"""Rows that an earlier run has sent in batches: which of them the job still asks for, in a few bytes a row."""

from __future__ import annotations

from pathlib import Path

from stanchion.batch.lanes.parts import Part, PartFolder
from stanchion.stores.journal.many_keys import ManyKeys


class AskedRows:
    """The rows of one part that the job asks for: a `Container` of keys."""

    def __init__(self, keys: ManyKeys, asked: bytearray, first: int, end: int) -> None:
        self._keys, self._asked, self._first, self._end = keys, asked, first, end

    def __contains__(self, key: object) -> bool:
        number = self._keys.find(key) if isinstance(key, bytes) else -1
        return self._first <= number < self._end and bool(self._asked[number])


class OlderRows:
    """All parts of earlier runs.  Close it."""

    def __init__(self, folder: Path, expected: int) -> None:
        """`folder` takes a file without a name; `expected` is how many rows there are."""
        self._keys = ManyKeys(folder, expected)
        self._asked = bytearray()
        self._parts: dict[str, AskedRows] = {}
        self._closed = False

    def add(self, folder: PartFolder, part: Part) -> None:
        """Read a part's rows, in a thread.  Raises OSError."""
        first, keys = self._keys.count, folder.keys(part)
        if self._closed:  # the run was cancelled, this thread was not
            return
        self._keys.extend(keys)
        self._asked.extend(bytes(len(keys)))
        self._parts[part.id] = AskedRows(self._keys, self._asked, first, self._keys.count)

    def take(self, key: bytes) -> bool:
        """Note that the job asks for a row; False if it is in no part, or was asked for already."""
        number = self._keys.find(key)
        if number < 0 or self._asked[number]:
            return False
        self._asked[number] = 1
        return True

    def of(self, part: Part) -> AskedRows:
        """Return the rows of a part that are asked for, as soon as all were taken."""
        return self._parts[part.id]

    def close(self) -> None:
        """Let go of the keys."""
        self._closed = True
        self._keys.close()
