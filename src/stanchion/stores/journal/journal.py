"""A journal that is open: what was answered, by key; and what is answered now, written by a thread.

All methods are for one thread, that of the event loop, but `entry_of` and `record` after the last `put`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import msgspec

from stanchion.core.errors import StanchionError
from stanchion.stores.journal.errors import JournalError
from stanchion.stores.journal.heads import begin_files
from stanchion.stores.journal.healing import Found, heal
from stanchion.stores.journal.index import Index
from stanchion.stores.journal.lock import take_lock
from stanchion.stores.journal.nearby import Nearby
from stanchion.stores.journal.records import (
    ENTRY_BYTES,
    Entry,
    Kind,
    Record,
)
from stanchion.stores.journal.table import Table
from stanchion.stores.journal.writer import SYNCED, Writer, full, read_synced

# an enumeration compares slowly
ANSWERED, FAILED, NOTE = int(Kind.ANSWERED), int(Kind.FAILED), int(Kind.NOTE)
_PENDING_MOST = 4096  # records that wait to be written; beyond it who answers is to wait
_PENDING_BYTES_MOST = 32 * 1024 * 1024
FOLDER_ENDING = ".stanchion"


def folder_of(output: Path) -> Path:
    """Return where the journal of an output is: beside it."""
    return output.with_name(output.name + FOLDER_ENDING)


class Counts(msgspec.Struct):
    """What a journal holds.  Of a key that has several records, the last one counts, but all its money."""

    answered: int = 0
    failed: int = 0
    spent_micro_usd: int = 0


class Journal:
    """Open it with `Journal.open`; whoever opens it closes it."""

    def __init__(self, folder: Path, lock: int, *, durable: bool) -> None:
        self.folder = folder
        self._durable = durable
        self.counts = Counts()
        self.notes: dict[bytes, int] = {}  # what lanes wrote down: the number of each key's last note
        self.error: StanchionError | None = None  # why nothing more is taken
        self._lock = lock
        self._files: list[int] = []
        self._fresh: dict[bytes, Record] = {}  # put, and not written yet
        self._order: deque[Record] = deque()  # the same, as they were put
        self._pending_bytes = 0
        self._waiting: list[asyncio.Future[None]] = []  # of those who wait for `recorded`, one each
        self._eased: deque[asyncio.Future[None]] = (
            deque()
        )  # of those who wait for `eased`, the first of them first
        self._writer: Writer | None = None
        self._closed = False

    @classmethod
    def open(
        cls, folder: Path, *, expected: int = 0, retry_failed: bool = False, durable: bool = True
    ) -> Self:
        """Open or begin a journal, and heal it.  Takes about a second for a million records: call it in a thread.

        `expected` records have room without growing.  With `retry_failed` what failed counts as not asked.  Not `durable`: the disk is never waited for.
        Raises JournalBusy, JournalError, OSError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder, take_lock(folder / "lock"), durable=durable)
        try:
            made._read(expected, retry_failed=retry_failed)
        except BaseException:
            made._close_files()
            raise
        return made

    def _read(self, expected: int, *, retry_failed: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        answers, index, synced = (
            os.open(self.folder / name, flags, 0o600) for name in ("answers", "index", "synced")
        )
        self._files = [answers, index, synced]
        begin_files(self.folder, answers, index)
        self.index = Index(index, answers)
        self._table = Table(self.index, max(expected, os.fstat(index).st_size // ENTRY_BYTES))
        self._nearby = Nearby(self._table, self.index)
        self._retry_failed = retry_failed
        try:
            self.count, self._end = heal(
                answers, self.index, read_synced(os.pread(synced, SYNCED.size, 0)), self._took
            )
        except OSError as error:
            raise full(str(self.folder), error) from error
        if len(self._table) != self.count:
            self._nearby.forget()
        self.number_of = self._nearby.find  # of a key, the record's number from 0; -1 if there is none

    def _took(self, found: Found) -> None:
        """Enter what was found in the index."""
        self.counts.spent_micro_usd += sum(found.costs)
        self._enter(found.keys, found.kinds, found.first, retry_failed=self._retry_failed)

    def _enter(
        self, keys: Sequence[bytes], kinds: Sequence[int], first: int, *, retry_failed: bool = False
    ) -> None:
        """Enter records that follow each other from number `first`."""
        if kinds.count(ANSWERED) == len(keys):  # nearly always
            self.counts.answered += len(keys)
            for _, before in self._table.extend(keys, first):
                self._forget(before)
            return
        for number, (key, kind) in enumerate(zip(keys, kinds, strict=True), first):
            if kind == NOTE:
                self.notes[key] = number
            elif kind != FAILED or not retry_failed:
                self._count(kind, self._table.put(key, number))

    def find(self, key: bytes) -> bool:
        """Say whether a key was answered, or failed for good."""
        return self.number_of(key) >= 0 or key in self._fresh

    def waits(self, key: bytes) -> bool:
        """Say whether something of a key was put that is not written yet."""
        return key in self._fresh

    def entry_of(self, key: bytes) -> Entry | None:
        """Return what is known of a key without reading its record; None if it is not recorded."""
        number = self.number_of(key)
        return None if number < 0 else self.index.entry(number)

    def record(self, entry: Entry) -> Record:
        """Return the record of an entry.  Raises JournalError if the disk gives something else."""
        found = self.index.record(entry)
        if found is None:
            raise JournalError(
                f"{self.folder}/answers is damaged at byte {entry.offset}: check the disk, then delete "
                f"{self.folder}/index and run again, which asks for what is lost"
            )
        return found

    def look(self, key: bytes) -> Record | None:
        """Return the record of a key; None if there is none.  Raises JournalError."""
        entry = self.entry_of(key)
        return None if entry is None else self.record(entry)

    def note(self, key: bytes) -> Record | None:
        """Return the last note under this key."""
        number = self.notes.get(key)
        return None if number is None else self.record(self.index.entry(number))

    def entries(self) -> Iterator[Entry]:
        """Return all entries, in the order in which they were written; a key's last one counts."""
        return self.index.all(self.count)

    def put(self, record: Record) -> None:
        """Record something.  It is found at once and written soon.  Raises JournalError if nothing is taken any more."""
        if self.error is not None:
            raise self.error
        writer = self._writer
        if writer is None:
            self._writer = writer = self._begin_writing()
        self._fresh[record.key] = record
        self._order.append(record)
        self._pending_bytes += record.length
        writer.put(record)

    def _begin_writing(self) -> Writer:
        loop = asyncio.get_running_loop()

        def written(count: int, error: OSError | None) -> None:
            loop.call_soon_threadsafe(self._written, count, error)

        answers, index, synced = self._files
        return Writer((answers, index, synced), self._end, written, durable=self._durable)

    @property
    def unwritten(self) -> int:
        """Count the records that the end of this process would lose."""
        return len(self._order)

    @property
    def crowded(self) -> bool:
        """Whether more waits to be written than should: who answers is to wait for `recorded`."""
        return len(self._order) > _PENDING_MOST or self._pending_bytes > _PENDING_BYTES_MOST

    async def recorded(self) -> None:
        """Wait until all that was put so far is written.  Raises JournalError if it cannot be."""
        until = self.count + len(self._order)
        while self.count < until and self.error is None:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting  # bounded by the disk, which answers or fails
        if self.error is not None:
            raise self.error

    async def eased(self) -> None:
        """Wait until less is unwritten: each record that is written lets one go, and the last of them all.

        With `recorded` all would be woken by each group of records, and all but a few would wait again.
        Raises JournalError if nothing is written any more.
        """
        if self._order and self.error is None:
            waiting = asyncio.get_running_loop().create_future()
            self._eased.append(waiting)
            await waiting  # bounded by the disk, which answers or fails
        if self.error is not None:
            raise self.error

    def _written(self, count: int, error: OSError | None) -> None:
        """Note that the oldest `count` records are written: from now on they are read from the disk."""
        fresh, order = self._fresh, self._order
        written = [order.popleft() for _ in range(count)]
        for record in written:
            if fresh.get(record.key) is record:
                del fresh[record.key]
            self._pending_bytes -= record.length
            self.counts.spent_micro_usd += record.cost_micro_usd
        self._enter([each.key for each in written], [each.kind for each in written], self.count)
        self.count += count
        if error is not None and self.error is None:
            self.error = full(str(self.folder), error)
        waiting, self._waiting = self._waiting, []
        eased = self._eased
        let_go = count if order and self.error is None else len(eased)
        while eased and let_go > 0:
            each = eased.popleft()
            if not each.done():  # who was cancelled lets the next one go
                each.set_result(None)
                let_go -= 1
        for each in waiting:
            if not each.done():
                each.set_result(None)

    def _count(self, kind: int, before: int) -> None:
        """Count a key's record; `before` is the number of the one that it replaces, or -1."""
        if before >= 0:
            self._forget(before)
        if kind == ANSWERED:
            self.counts.answered += 1
        else:
            self.counts.failed += 1

    def _forget(self, number: int) -> None:
        """Count a record no more: another one of its key came later."""
        self._nearby.forget()
        if self.index.entry(number).kind == ANSWERED:
            self.counts.answered -= 1
        else:
            self.counts.failed -= 1

    async def sync(self) -> None:
        """Write what was put and wait for the disk.  Raises JournalError if that failed."""
        writer = self._writer
        if writer is not None:
            await asyncio.to_thread(writer.close)
            await asyncio.sleep(0)  # what the thread said last is heard
            self._writer, self._end = None, writer.end
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        """Write what was put, wait for the disk, let others have it."""
        if self._closed:
            return
        self._closed = True
        try:
            with contextlib.suppress(JournalError):  # it was raised where something was put
                await self.sync()
        finally:
            if self._writer is not None:  # cancelled: the thread must not write into files of somebody else
                self._writer.close()
            self._close_files()

    def close(self) -> None:
        """Let go of a journal that was only read."""
        if not self._closed:
            self._closed = True
            self._close_files()

    def _close_files(self) -> None:
        for file in (*self._files, self._lock):
            os.close(file)
        self._files = []
