"""How a journal's files begin: which version they are, and that the index is this journal's and no other's."""

from __future__ import annotations

import os
from pathlib import Path

from stanchion.stores.journal.errors import JournalError
from stanchion.stores.journal.records import DATA_BEGIN, DATA_MAGIC, ENTRY_BYTES, INDEX_MAGIC, NAME_BYTES


def begin_files(folder: Path, answers: int, index: int) -> None:
    """Write the heads of new files; check those of old ones.  Raises JournalError, OSError."""
    head = os.pread(answers, DATA_BEGIN, 0)
    if len(head) < DATA_BEGIN:
        head = DATA_MAGIC + os.urandom(NAME_BYTES)
        os.ftruncate(answers, 0)
        _write_all(answers, head)
        os.fsync(answers)
        _sync_folder(folder)
    if not head.startswith(DATA_MAGIC):
        raise JournalError(
            f"{folder}/answers is no journal of this version: choose another output, or begin anew with --fresh"
        )
    wanted = (INDEX_MAGIC + head[len(DATA_MAGIC) :]).ljust(ENTRY_BYTES, b"\0")
    if (
        os.pread(index, ENTRY_BYTES, 0) != wanted
    ):  # another journal's, or none yet: made anew from the answers
        os.ftruncate(index, 0)
        _write_all(index, wanted)


def _write_all(file: int, raw: bytes) -> None:
    if os.pwrite(file, raw, 0) != len(raw):
        raise OSError(28, "No space left on device")


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
