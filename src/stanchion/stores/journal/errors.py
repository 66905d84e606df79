"""What can be wrong with a journal.  Each message names the folder and says what to do."""

from __future__ import annotations

from stanchion.core.errors import StanchionError


class JournalError(StanchionError):
    """The journal cannot be used."""

    code = "journal_broken"


class JournalBusy(JournalError):
    """Another process writes it."""

    code = "journal_busy"


class JournalFull(JournalError):
    """The disk takes no more.  What was recorded before is kept."""

    code = "journal_full"
