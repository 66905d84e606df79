"""What an output is: something that takes rows with their answers, in order, and makes bytes of them.

Nothing that is written depends on the clock, on chance or on how often a job was taken up again: all of it comes from
the row, its key and what is kept of its answer.
"""

from __future__ import annotations

from typing import IO, Protocol

from stanchion.batch.answers import Answer
from stanchion.batch.rows import Row


class RowWriter(Protocol):
    """Writes rows into one open file."""

    def add(self, row: Row, custom_id: str, key: bytes, answer: Answer) -> None:
        """Write a row, or leave it out where this output has no place for such an answer."""
        ...

    def close(self) -> None:
        """Write what is left.  The file stays open."""
        ...


class OutputFormat(Protocol):
    """One form of output."""

    def open(self, file: IO[bytes]) -> RowWriter:
        """Begin to write into an empty file."""
        ...
