"""What a job reads and asks: pages of raw lines, what a line asks, and why one cannot be asked.

A line stays bytes until a call must be made for it: a job that is taken up again looks at each of its rows and
asks only what is missing.  What a line's answer depends on is its *content* (`Form.content`): not its place in
the file, and not what it is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from stanchion.core.call import Operation
from stanchion.core.errors import InvalidCall


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row of the input as it stands there."""

    number: int  # from 1: the line in a JSONL file, the record of a table
    line: bytes  # a JSON object: the line itself, or the record of a table written as one


class Page(msgspec.Struct, frozen=True, gc=False):
    """Rows that follow each other."""

    first: int  # the number of the first
    lines: Sequence[bytes]  # one a row; an empty one is no row, unless it is among the bad
    bad: Mapping[int, BadRow] = {}  # by number: rows that the source could not read


class Request(msgspec.Struct, frozen=True, gc=False):
    """What one row asks."""

    custom_id: str  # what the row is called in the output; not part of what is asked
    operation: Operation
    body: bytes  # a JSON object


class BadRow(InvalidCall):
    """A row cannot be asked.  The message says what is wrong with it; `number` and `column` say where."""

    code = "invalid_row"
    number: int = 0  # of the row, from 1; 0: not known yet
    column: int = 0  # of the character, from 1; 0 where that says nothing
    custom_id: str = ""  # what the row is called, where that could be read


class Source(Protocol):
    """Where rows come from.  It can be read several times and gives the same rows each time."""

    @property
    def name(self) -> str:
        """Say what it is, in messages: the path as it was given."""
        ...

    def size(self) -> int:
        """Say about how many rows there are, without reading them all; 0 if that cannot be said."""
        ...

    def pages(self) -> Iterator[Page]:
        """Read from the beginning.  Runs in a thread, page by page.  Raises OSError; StanchionError for a broken file."""
        ...


class Form(Protocol):
    """What a line asks: OpenAI batch lines, bare bodies, or records with a template."""

    @property
    def settled(self) -> bytes:
        """Return all that decides an answer beside the row: the template, the parameters, the form itself."""
        ...

    def content(self, line: bytes) -> bytes:
        """Return what of a line decides its answer.  Raises BadRow.  Called for every row at every run: be fast."""
        ...

    def request(self, row: Row) -> Request:
        """Return what a row asks.  Raises BadRow."""
        ...

    def custom_id(self, row: Row) -> str:
        """Return what a row is called in the output.  Raises BadRow."""
        ...
