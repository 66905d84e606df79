"""What a journal's files hold that can be trusted, after whatever ended the process that wrote them.

Entries are taken as long as each fits its CRC and follows the one before; the answers behind the last one are read
record by record and entered anew, as long as each fits its CRC; what comes then is half a record and is cut off.
Answers that were not surely on the disk (`synced`) are checked though they have an entry: after a loss of power the
index can be there and the answers not.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator

import msgspec

from stanchion.stores.journal.index import Index
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


class Found(msgspec.Struct):
    """Entries that follow each other."""

    first: int  # the number of the first
    keys: list[bytes]
    kinds: list[int]
    costs: list[int]


Took = Callable[[Found], None]


def heal(answers: int, index: Index, synced: int, took: Took) -> tuple[int, int]:
    """Cut off what is torn, enter what is not entered.  Returns the number of entries, and where the answers end.

    `took` is told of all entries, in their order.  Raises OSError, also where the disk
    is too full for the missing entries.
    """
    size = os.fstat(answers).st_size
    count, end = _entries((answers, index.file), size, synced, took)
    os.ftruncate(index.file, (1 + count) * ENTRY_BYTES)
    index.forget()
    for record in _records(answers, end, size):
        entry = pack_entry(record, end)
        _write(index.file, entry, (1 + count) * ENTRY_BYTES)
        took(Found(count, [record.key], [record.kind], [record.cost_micro_usd]))
        count, end = count + 1, end + record.length
    os.ftruncate(answers, end)
    return count, end


def _entries(files: tuple[int, int], size: int, synced: int, took: Took) -> tuple[int, int]:
    """Tell of the entries that can be trusted; return how many there are, and where the last one's record ends."""
    answers, index = files
    count, end = 0, DATA_BEGIN
    while True:
        raw = os.pread(index, _CHUNK * ENTRY_BYTES, (1 + count) * ENTRY_BYTES)
        raw = raw[: len(raw) - len(raw) % ENTRY_BYTES]
        found, at = Found(count, [], [], []), 0
        keys, kinds, costs = found.keys.append, found.kinds.append, found.costs.append
        for key, offset, length, cost, kind, _, crc in ENTRY.iter_unpack(raw):
            following = offset + length
            if offset != end or following > size or _crc(raw[at : at + 36]) != crc:
                break
            if following > synced and not _is_there(answers, offset, length, key):
                break
            keys(key)
            kinds(kind)
            costs(cost)
            end, at = following, at + ENTRY_BYTES
        count += len(found.keys)
        took(found)
        if at < len(raw) or not raw:
            return count, end


def _is_there(answers: int, offset: int, length: int, key: bytes) -> bool:
    record = unpack(os.pread(answers, length, offset))
    return record is not None and record.key == key


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
