"""Some rows of a source: the first so many, a sample spread over all, or one of several shares.

A share is chosen by what a row asks, not by where it stands: rows may move between runs, and rows that ask the same
are in one share.  What is not chosen is no row, for all that reads the source.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import msgspec

from stanchion.batch.rows import BadRow, Form, Page, Source

_GOLDEN = 0x9E3779B97F4A7C15  # spreads numbers that follow each other over all of 64 bits (Fibonacci hashing)
_ALL = 2**64


class Selection(msgspec.Struct, frozen=True):
    """What of a source is wanted; 0 is all."""

    limit: int = 0  # of the first rows
    sample: int = 0  # rows, spread evenly
    shard: int = 0  # which share, from 1
    shards: int = 0  # of so many

    @property
    def is_all(self) -> bool:
        """Whether every row is wanted."""
        return not (self.limit or self.sample or self.shards)


class SelectedSource:
    """A `Source` over another."""

    def __init__(self, source: Source, selection: Selection, form: Form) -> None:
        self._source, self._selection, self._form = source, selection, form
        self.name = source.name

    def size(self) -> int:
        """Say about how many rows are chosen."""
        selection, rows = self._selection, self._source.size()
        if selection.shards:
            rows = round(rows / selection.shards)
        for most in (selection.limit, selection.sample):
            rows = min(rows, most) if most else rows
        return rows

    def pages(self) -> Iterator[Page]:
        """Read from the beginning."""
        selection = self._selection
        left = selection.limit or selection.sample or _ALL
        share = self._share()
        for page in self._source.pages():
            lines, bad = list[bytes](), dict[int, BadRow]()
            for number, line in enumerate(page.lines, page.first):
                is_row = bool(line) or number in page.bad
                wanted = is_row and left > 0 and share(number) and self._in_shard(number, line)
                left -= wanted
                lines.append(line if wanted else b"")
                if wanted and number in page.bad:
                    bad[number] = page.bad[number]
            yield Page(page.first, lines, bad)
            if left <= 0:
                return

    def _share(self) -> Callable[[int], bool]:
        """Return what says of a row's number whether it is in the sample."""
        sample = self._selection.sample
        if not sample:
            return _every
        rows = max(1, self._source.size())
        below = min(_ALL, _ALL * sample * 21 // (20 * rows))  # a twentieth more: chance may choose too few
        return lambda number: (number * _GOLDEN) % _ALL < below

    def _in_shard(self, number: int, line: bytes) -> bool:
        selection = self._selection
        if not selection.shards:
            return True
        try:
            content = self._form.content(line)
        except BadRow:
            content = b"%d" % number  # said once, by one of them
        return zlib.crc32(content) % selection.shards == selection.shard - 1


def _every(number: int) -> bool:
    del number
    return True
