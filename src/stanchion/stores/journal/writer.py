"""The thread that writes a journal: groups of records, appended, then made durable.

What is put while a group is written is the next group.  A group is two writes, records and then their entries, after
which no end of the process can lose it.  The disk is waited for at most every `SYNC_EVERY_S` (and at the end): until
then a loss of power costs the answers of that time.  How much of the records is on the disk is written to `synced`.

When the disk is full, what was written whole is kept, the rest of the group is cut off, and nothing more is taken.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from struct import Struct
from zlib import crc32 as _crc

from stanchion.stores.journal.errors import JournalFull
from stanchion.stores.journal.records import Record, pack, pack_entry

SYNC_EVERY_S = 0.05  # seconds between two waits for the disk
GATHER_S = (
    0.002  # seconds that a record waits for others: a thread that wakes for each takes turns with the loop
)
_INDEX_EVERY = 64  # waits for the answers, to one for the index: what it lacks is found again in the answers
_GROUP_MOST = 128  # records of one write: larger pieces fragment the memory
SYNCED = Struct("<QI")  # bytes of `answers` that are on the disk, and the CRC of that number
Written = Callable[[int, OSError | None], None]  # so many more are written; called in the thread


class Writer:
    """Appends records.  `put` is for one thread; it never waits."""

    def __init__(
        self, files: tuple[int, int, int], end: int, written: Written, *, durable: bool = True
    ) -> None:
        """`files` are the answers, the index and `synced`, open; `end` is where the answers end."""
        self._answers, self._index, self._synced = files
        self.end = end  # of the answers
        self._written = written
        self._durable = durable
        self._queue = SimpleQueue[Record | None]()
        self._synced_end = end
        self._syncs = 0
        self._thread = threading.Thread(target=self._live, name="stanchion-journal", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Have a record written soon."""
        self._queue.put(record)

    def close(self) -> None:
        """Write all that was put, make it durable, end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _live(self) -> None:
        sync_at = 0.0
        while True:
            unsynced = self._durable and self._synced_end < self.end
            try:
                first = self._queue.get(timeout=max(sync_at - time.monotonic(), 0.0) if unsynced else None)
            except Empty:
                first = None
            else:
                if first is None:
                    self._sync(last=True)
                    return
                time.sleep(GATHER_S)  # noqa: TID251 - this thread has no loop
                if not self._write(self._group(first)):
                    return
            if self._durable and time.monotonic() >= sync_at and self._synced_end < self.end:
                if not self._sync():
                    return
                sync_at = time.monotonic() + SYNC_EVERY_S

    def _group(self, first: Record) -> list[Record]:
        group = [first]
        with contextlib.suppress(Empty):
            while len(group) < _GROUP_MOST:
                record = self._queue.get_nowait()
                if record is None:
                    self._queue.put(None)  # the end, after this group
                    break
                group.append(record)
        return group

    def _write(self, group: list[Record]) -> bool:
        """Append a group; say whether all went well."""
        parts, entries, ends = list[bytes](), list[bytes](), list[int]()
        end = self.end
        for record in group:
            parts.extend(pack(record))
            entries.append(pack_entry(record, end))
            end += record.length
            ends.append(end)
        error = _append(self._answers, b"".join(parts), self.end)
        if error is not None:
            there = os.fstat(self._answers).st_size
            whole = sum(1 for each in ends if each <= there)
            entries, ends = entries[:whole], ends[:whole]
            end = ends[-1] if ends else self.end
            with contextlib.suppress(OSError):
                os.ftruncate(self._answers, end)
        self.end = end
        raw = b"".join(entries)
        # of the index a part may be missing: what it lacks is read from the answers when the journal is opened
        later = _append(self._index, raw, os.fstat(self._index).st_size)
        error = error or later
        self._written(len(entries), error)
        return error is None

    def _sync(self, *, last: bool = False) -> bool:
        """Wait for the disk; say whether all went well."""
        if not self._durable:
            return True
        try:
            _wait_for_disk(self._answers)
            self._synced_end = self.end
            self._syncs += 1
            if last or self._syncs % _INDEX_EVERY == 0:
                _wait_for_disk(self._index)
            os.pwrite(self._synced, pack_synced(self.end), 0)
        except OSError as error:
            self._written(0, error)
            return False
        return True


def pack_synced(end: int) -> bytes:
    """Write down how much is surely on the disk."""
    raw = end.to_bytes(8, "little")
    return raw + _crc(raw).to_bytes(4, "little")


def read_synced(raw: bytes) -> int:
    """Read how much is surely on the disk; 0 if that is not known."""
    if len(raw) != SYNCED.size:
        return 0
    end, crc = SYNCED.unpack(raw)
    return end if _crc(raw[:8]) == crc else 0


def full(folder: str, error: OSError) -> JournalFull:
    """Make the error of a disk that takes no more."""
    return JournalFull(
        f"{folder} cannot be written ({error.strerror}): what was answered so far is kept; make room on the disk "
        "and run the same command again"
    )


def _append(file: int, raw: bytes, at: int) -> OSError | None:
    """Write all of `raw` at `at`, or as much as goes."""
    view = memoryview(raw)
    while view:
        try:
            done = os.pwrite(file, view, at)
        except InterruptedError:
            continue
        except OSError as error:
            return error
        view, at = view[done:], at + done
    return None


def _wait_for_disk(file: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(file)
    else:
        os.fsync(file)  # macOS
