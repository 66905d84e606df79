"""The journals of several shares of a job, read as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from stanchion.core.errors import SettingsError
from stanchion.stores.journal.journal import Journal
from stanchion.stores.journal.records import Kind, Record


class Journals:
    """A `Kept`.  Used as a context.  Of a key that several answered, an answer counts before a failure."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._open: list[Journal] = []

    def __enter__(self) -> Self:
        """Open all.  Raises JournalBusy while a run writes one, SettingsError where there is none."""
        try:
            for folder in self._folders:
                if not (folder / "answers").is_file():
                    raise SettingsError(
                        f"{folder}: there is no journal here; the folder must come with its output"
                    )
                self._open.append(Journal.open(folder, durable=False))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for journal in self._open:
            journal.close()
        self._open = []

    def look(self, key: bytes) -> Record | None:
        """Return the record of a key; None if there is none.  Raises JournalError."""
        found: Record | None = None
        for journal in self._open:
            record = journal.look(key)
            if record is not None:
                if record.kind == Kind.ANSWERED:
                    return record
                found = record
        return found

    def number_of(self, key: bytes) -> int:
        """Return the place of a key's record: the journals stand one after the other."""
        before = 0
        for journal in self._open:
            number = journal.number_of(key)
            if number >= 0:
                return before + number
            before += journal.count
        return -1
