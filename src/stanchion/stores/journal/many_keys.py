"""Keys by the thousand that are wanted only as long as this process lives: on the disk, and found by a table.

A million in a set are 100 MB; here they are 16 MB of a file that has no name, so it is gone with the process, and
3.4 MB of memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from stanchion.stores.journal.table import Table

KEY_BYTES = 16
_FEW = 4096  # keys that are held as objects: calls that are open, and rows at hand


class ManyKeys:
    """Keys by number, from 0, in the order in which they were added.  Close it."""

    def __init__(self, folder: Path | None, expected: int = 0) -> None:
        """The file is made in `folder` (None: where temporary files are) with the first key.

        `expected` keys have room without growing.
        """
        self._folder = folder
        self._expected = expected
        self._file: IO[bytes] | None = None
        self._table: Table | None = None
        self.count = 0

    def extend(self, keys: Sequence[bytes]) -> None:
        """Add keys; one that is there already counts from now on as the later one.  Raises OSError."""
        file, table = self._file, self._table
        if file is None or table is None:
            self._file = file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - `close` closes it
            self._table = table = Table(self, self._expected)
        raw = memoryview(b"".join(keys))
        file.seek(self.count * KEY_BYTES)
        while raw:
            raw = raw[file.write(raw) :]
        table.extend(keys, self.count)
        self.count += len(keys)

    def find(self, key: bytes) -> int:
        """Return the number of a key; -1 if it was not added.  Raises OSError."""
        return -1 if self._table is None else self._table.find(key)

    def has(self, number: int, key: bytes) -> bool:
        """Say whether this number is this key's."""
        return self.key_of(number) == key

    def key_of(self, number: int) -> bytes:
        """Return the key of a number."""
        assert self._file is not None  # noqa: S101 - a number comes from `extend`
        return os.pread(self._file.fileno(), KEY_BYTES, number * KEY_BYTES)

    def close(self) -> None:
        """Forget all keys.  More may be added later."""
        file, self._file = self._file, None
        self._table, self.count = None, 0
        if file is not None:
            file.close()


class KeySet:
    """A set of keys that may be large: a set of objects as long as it is small.  Close it."""

    def __init__(self, folder: Path | None, expected: int = 0, *, few: int = _FEW) -> None:
        """As `ManyKeys`; `few` keys are held as objects."""
        self._many = ManyKeys(folder, expected)
        self._few = set[bytes]()
        self._few_most = few
        self._gone = 0  # of the many

    def add(self, key: bytes) -> None:
        """Add a key that is not in it.  Raises OSError."""
        if len(self._few) >= self._few_most:
            self._many.extend(list(self._few))
            self._few.clear()
        self._few.add(key)

    def __contains__(self, key: bytes) -> bool:
        return key in self._few or self._many.find(key) >= 0

    def discard(self, key: bytes) -> None:
        """Let a key go that was added, once.  Where there are many it may go on to be in it, until all are gone."""
        if key in self._few:
            self._few.remove(key)
            return
        self._gone += 1
        if self._gone >= self._many.count:
            self._many.close()
            self._gone = 0

    def close(self) -> None:
        """Forget all keys."""
        self._few.clear()
        self._many.close()
        self._gone = 0
