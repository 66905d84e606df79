"""The shares of a job whose workers keep a journal each: folders beside each other in the job's own.

How many there are is settled by the first run: a row's share must be the same in each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stanchion.core.errors import SettingsError
from stanchion.stores.journal.journal import Journal

_NAME = re.compile(r"shard-(\d+)-of-(\d+)")


def shard_folder(folder: Path, number: int, of: int) -> Path:
    """Return where the journal of a share is; numbers are from 1."""
    return folder / f"shard-{number}-of-{of}"


def shards_kept(folder: Path) -> int:
    """Return in how many shares a job was begun; 0 if in none."""
    found = {int(name[2]) for each in folder.glob("shard-*-of-*") if (name := _NAME.fullmatch(each.name))}
    if len(found) > 1:
        raise SettingsError(f"{folder} has shares of several splits: keep those of one")
    return found.pop() if found else 0


def journal_folders(folder: Path) -> Sequence[Path]:
    """Return where the answers of a job are: in its own folder, or in those of its shares."""
    shards = shards_kept(folder)
    return [shard_folder(folder, number, shards) for number in range(1, shards + 1)] or [folder]


def spent_micro_usd(folders: Sequence[Path]) -> int:
    """Return what the answers in these journals cost, in a thread.  Raises JournalBusy, JournalError, OSError."""
    spent = 0
    for folder in folders:
        journal = Journal.open(folder, durable=False)
        spent += journal.counts.spent_micro_usd
        journal.close()
    return spent
