"""Rows from a file of lines: JSONL.  The number of a row is that of its line; blank lines are no rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stanchion.batch.rows import Page

_CHUNK = 128 * 1024  # bytes read at once
_SAMPLES = 3
_BOM = b"\xef\xbb\xbf"


class JsonLines:
    """A `Source` over a file on this machine."""

    def __init__(self, path: Path, name: str = "") -> None:
        self._path = path
        self.name = name or str(path)

    def size(self) -> int:
        """Estimate the number of rows by the length of those at the beginning, in the middle and at the end."""
        total, bytes_read, lines = self._path.stat().st_size, 0, 0
        with self._path.open("rb") as file:
            for part in range(_SAMPLES):
                file.seek(max(0, total - _CHUNK) * part // (_SAMPLES - 1))
                sample = file.read(_CHUNK)
                bytes_read, lines = bytes_read + len(sample), lines + sample.count(b"\n")
        return int(total / bytes_read * lines) + 1 if lines else int(bool(total))

    def pages(self) -> Iterator[Page]:
        """Read the file from its beginning, in pieces of 128 KB, or of one line if that is longer."""
        first = 1
        with self._path.open("rb") as file:
            rest: list[bytes] = []
            chunk = file.read(_CHUNK).removeprefix(_BOM)
            while chunk:
                lines = chunk.split(b"\n")
                rest.append(lines[0])
                if len(lines) > 1:
                    lines[0] = b"".join(rest)
                    rest = [lines.pop()]
                    yield Page(first, _clean(lines))
                    first += len(lines)
                chunk = file.read(_CHUNK)
            last = b"".join(rest)
            if last:
                yield Page(first, _clean([last]))


def _clean(lines: list[bytes]) -> list[bytes]:
    """Take off what is no part of a line: white space at its end, and all of a blank one."""
    return [line.strip() for line in lines]
