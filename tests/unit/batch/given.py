"""Rows that a test wrote down, as a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stanchion.batch.rows import BadRow, Page


class Given:
    """A `Source` in memory, in pages of seven rows."""

    name = "given"

    def __init__(self, lines: Sequence[bytes], bad: Mapping[int, BadRow] | None = None) -> None:
        self._lines = lines
        self._bad = bad or {}

    def size(self) -> int:
        return len(self._lines)

    def pages(self) -> Iterator[Page]:
        for at in range(0, len(self._lines), 7):
            lines = self._lines[at : at + 7]
            bad = {n: self._bad[n] for n in range(at + 1, at + 1 + len(lines)) if n in self._bad}
            yield Page(at + 1, lines, bad)
