"""What a journal's files hold that can be trusted, after whatever ended the process that wrote them.

Entries are taken as long as each fits its CRC and follows the one before; the answers behind the last one are read
record by record and entered anew, as long as each fits its CRC; what comes then is half a record and is cut off.
Answers that were not surely on the disk (`synced`) are checked though they have an entry: after a loss of power the
index can be there and the answers not.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

from stanchion.stores.journal.records import (
    DATA_BEGIN,
    ENTRY,
    ENTRY_BYTES,
    HEADER,
    Record,
    length_of,
    pack_entry,
    unpack,
)

_CHUNK = 8192  # entries read at once
_crc = zlib.crc32


def heal(answers: int, index: int, synced: int) -> tuple[int, int]:
    """Cut off what is torn, enter what is not entered.  Returns the number of entries, and where the answers end.

    Raises OSError, also where the disk is too full for the missing entries.
    """
    size = os.fstat(answers).st_size
    count, end = _entries(answers, index, size, synced)
    os.ftruncate(index, (1 + count) * ENTRY_BYTES)
    for record in _records(answers, end, size):
        entry = pack_entry(record, end)
        _write(index, entry, (1 + count) * ENTRY_BYTES)
        count, end = count + 1, end + record.length
    os.ftruncate(answers, end)
    return count, end


def _entries(answers: int, index: int, size: int, synced: int) -> tuple[int, int]:
    """Count the entries that can be trusted; say where the last one's record ends."""
    count, end = 0, DATA_BEGIN
    while True:
        raw = os.pread(index, _CHUNK * ENTRY_BYTES, (1 + count) * ENTRY_BYTES)
        raw = raw[: len(raw) - len(raw) % ENTRY_BYTES]
        if not raw:
            return count, end
        at = 0
        for key, offset, length, _, _, _, crc in ENTRY.iter_unpack(raw):
            if offset != end or end + length > size or _crc(raw[at : at + 36]) != crc:
                return count, end
            if offset + length > synced:
                record = unpack(os.pread(answers, length, offset))
                if record is None or record.key != key:
                    return count, end
            count, end, at = count + 1, end + length, at + ENTRY_BYTES


def _records(answers: int, begin: int, size: int) -> Iterator[Record]:
    """Read records one after the other until one is none."""
    while begin < size:
        length = length_of(os.pread(answers, HEADER.size, begin))
        if not length or begin + length > size:
            return
        record = unpack(os.pread(answers, length, begin))
        if record is None:
            return
        yield record
        begin += length


def _write(file: int, raw: bytes, at: int) -> None:
    view = memoryview(raw)
    while view:
        done = os.pwrite(file, view, at)
        view, at = view[done:], at + done
