"""Reading the index and the answers: what is looked up often stays in memory, a few blocks of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from stanchion.stores.journal.records import (
    ENTRY,
    ENTRY_BYTES,
    Entry,
    Record,
    unpack,
    unpack_entry,
)

_SHIFT = 7
_BLOCK = 1 << _SHIFT  # entries read at once: rows that follow each other are answered near each other
_BLOCKS = 24  # kept, 125 kB
_CHUNK = 8192  # entries, where all are read
_KEY_BYTES = 16


class Index:
    """Entries by number.  Those that were written since are found too."""

    def __init__(self, index: int, answers: int) -> None:
        """The files, open for reading; the index holds whole entries after its head."""
        self.file = index
        self._answers = answers
        self._blocks: dict[int, bytes] = {}

    def forget(self) -> None:
        """Read all anew: the file was cut."""
        self._blocks.clear()

    def key_of(self, number: int) -> bytes:
        """Return the key of an entry."""
        return os.pread(self.file, _KEY_BYTES, (1 + number) * ENTRY_BYTES)

    def has(self, number: int, key: bytes) -> bool:
        """Say whether an entry is this key's."""
        block, at = number >> _SHIFT, (number & _BLOCK - 1) * ENTRY_BYTES
        raw = self._blocks.get(block)
        if raw is None or len(raw) <= at:  # mostly chance: another key's, and nothing near it is looked up
            return os.pread(self.file, _KEY_BYTES, (1 + number) * ENTRY_BYTES) == key
        return raw.startswith(key, at)

    def entry(self, number: int) -> Entry:
        """Return an entry."""
        block, at = number >> _SHIFT, (number & _BLOCK - 1) * ENTRY_BYTES
        raw = self._blocks.get(block)
        if raw is None or len(raw) <= at:
            raw = self._read(block)
        return unpack_entry(raw, at)

    def keys(self, first: int, most: int) -> list[bytes]:
        """Return the keys of at most so many entries that follow each other."""
        raw = os.pread(self.file, most * ENTRY_BYTES, (1 + first) * ENTRY_BYTES)
        return [raw[at : at + 16] for at in range(0, len(raw) - ENTRY_BYTES + 1, ENTRY_BYTES)]

    def record(self, entry: Entry) -> Record | None:
        """Return the record of an entry; None if it is not what the entry says."""
        found = unpack(os.pread(self._answers, entry.length, entry.offset))
        return found if found is not None and found.key == entry.key else None

    def all(self, end: int) -> Iterator[Entry]:
        """Return the first `end` entries, in the order in which they were written."""
        for first in range(0, end, _CHUNK):
            count = min(_CHUNK, end - first)
            raw = os.pread(self.file, count * ENTRY_BYTES, (1 + first) * ENTRY_BYTES)
            for key, offset, length, cost, kind, status, _ in ENTRY.iter_unpack(raw):
                yield Entry(key, offset, length, cost, kind, status)

    def _read(self, block: int) -> bytes:
        if len(self._blocks) >= _BLOCKS:
            self._blocks.clear()
        raw = os.pread(self.file, _BLOCK * ENTRY_BYTES, (1 + block * _BLOCK) * ENTRY_BYTES)
        raw = raw[: len(raw) - len(raw) % ENTRY_BYTES]
        self._blocks[block] = raw
        return raw
