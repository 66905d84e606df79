"""The bytes of a journal: records of `answers` and entries of `index`.  Integers are little-endian.

    answers   16 bytes: magic and the journal's own name; then records
    record    header of 40 bytes: magic 4, CRC-32 of all that follows 4, key 16, kind 1, 0, status 2, cost 4,
              bytes of meta 4, bytes of body 4; then meta and body
    index     40 bytes: magic, the journal's own name, zeros; then entries
    entry     40 bytes: key 16, where the record begins 8, its length 4, cost 4, kind 1, 0, status 2, CRC-32 of these 4

A record is taken for one only if its CRC fits, so the half of one is none.
"""

from __future__ import annotations

import enum
import zlib
from struct import Struct

import msgspec

MAGIC = b"SJR1"
DATA_MAGIC = b"STANCHD1"
INDEX_MAGIC = b"STANCHI1"
NAME_BYTES = 8
DATA_BEGIN = len(DATA_MAGIC) + NAME_BYTES
HEADER = Struct("<4sI16sBxHIII")
ENTRY = Struct("<16sQIIBxHI")
ENTRY_BYTES = ENTRY.size
_ENTRY_FIELDS = Struct("<16sQIIBxH")
_AFTER_CRC = Struct("<16sBxHIII")
COST_MOST = 2**32 - 1  # micro-dollars: 4,294 dollars for one answer
PART_MOST = 2**31  # bytes of a meta or a body; beyond it the header is no header
_crc = zlib.crc32


class Kind(enum.IntEnum):
    """What a record says."""

    ANSWERED = 1
    FAILED = 2  # for good: it is not asked again unless somebody wants that
    NOTE = 3  # of a lane: what it has begun elsewhere


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record."""

    key: bytes
    kind: int
    status: int = 0
    cost_micro_usd: int = 0
    meta: bytes = b""  # small, JSON: what is known of the answer
    body: bytes = b""  # the answer as it came

    @property
    def length(self) -> int:
        """Its bytes on the disk."""
        return HEADER.size + len(self.meta) + len(self.body)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Where a record is, and what is known of it without reading it."""

    key: bytes
    offset: int
    length: int
    cost_micro_usd: int
    kind: int
    status: int


def pack(record: Record) -> tuple[bytes, bytes, bytes]:
    """Return the record's bytes in three parts: header, meta, body."""
    meta, body = record.meta, record.body
    cost = min(record.cost_micro_usd, COST_MOST)
    rest = _AFTER_CRC.pack(record.key, record.kind, record.status, cost, len(meta), len(body))
    crc = _crc(body, _crc(meta, _crc(rest)))
    return MAGIC + crc.to_bytes(4, "little") + rest, meta, body


def pack_entry(record: Record, offset: int) -> bytes:
    """Return the index entry of a record that begins at `offset`."""
    cost = min(record.cost_micro_usd, COST_MOST)
    fields = _ENTRY_FIELDS.pack(record.key, offset, record.length, cost, record.kind, record.status)
    return fields + _crc(fields).to_bytes(4, "little")


def unpack_entry(raw: bytes, at: int = 0) -> Entry:
    """Read an entry that was checked when the journal was opened, or written since."""
    key, offset, length, cost, kind, status, _ = ENTRY.unpack_from(raw, at)
    return Entry(key, offset, length, cost, kind, status)


def length_of(header: bytes) -> int:
    """Return the length of the record with this header; 0 if it is no header."""
    if len(header) < HEADER.size:
        return 0
    magic, _, _, _, _, _, meta, body = HEADER.unpack_from(header)
    if magic != MAGIC or meta > PART_MOST or body > PART_MOST:
        return 0
    return HEADER.size + meta + body


def unpack(raw: bytes) -> Record | None:
    """Read a record of these bytes exactly; None if they are none."""
    if length_of(raw) != len(raw):
        return None
    _, crc, key, kind, status, cost, meta, _ = HEADER.unpack_from(raw)
    if _crc(memoryview(raw)[8:]) != crc:
        return None
    return Record(key, kind, status, cost, raw[HEADER.size : HEADER.size + meta], raw[HEADER.size + meta :])
