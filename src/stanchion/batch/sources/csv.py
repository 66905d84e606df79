"""A table as text: each record of a CSV file becomes a JSON object of texts, by the names in its first line.

The separator is the one of comma, semicolon and tab that the first line has most of.  The text is UTF-8, with or
without a byte order mark.  A record that cannot be read is a bad row, and the next line begins afresh; so a quote
that nobody closes spoils what follows it to the next quote, and says so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

import msgspec

from stanchion.batch.rows import BadRow, Page
from stanchion.core.errors import SettingsError

_PAGE = 1000  # records
_SEPARATORS = ",;\t"
_FIELD_MOST = (
    64 * 1024 * 1024
)  # characters of one field; the csv module's own 128 KiB is less than a long prompt
_SAMPLE = 256 * 1024  # bytes that the number of records is told from
_encode = msgspec.json.Encoder().encode


class _Reader(Protocol):
    """What csv.reader gives; its class has no name."""

    @property
    def line_num(self) -> int: ...
    def __next__(self) -> list[str]: ...


class CsvSource:
    """The records of one file.  A record's number does not count the line with the names."""

    def __init__(self, path: Path, *, name: str = "") -> None:
        """Read the names of the columns.  Raises OSError, SettingsError."""
        self._path = path
        self.name = name or str(path)
        with self._open() as file:
            first = file.readline()
        self._separator = max(_SEPARATORS, key=first.count)
        self.columns = self._names(first)

    def size(self) -> int:
        """Say about how many records there are, by the length of the first ones."""
        with self._path.open("rb") as file:
            sample = file.read(_SAMPLE)
        lines = sample.count(b"\n") or 1
        return max(0, round(self._path.stat().st_size / (len(sample) or 1) * lines) - 1)

    def pages(self) -> Iterator[Page]:
        """Read from the beginning."""
        csv.field_size_limit(_FIELD_MOST)  # of the whole process, and nobody else reads CSV in it
        with self._open() as file:
            reader = csv.reader(file, delimiter=self._separator, strict=True)
            next(reader, None)
            first, lines, bad = 1, list[bytes](), dict[int, BadRow]()
            while (read := self._record(reader, first + len(lines))) is not None:
                if isinstance(read, BadRow):
                    bad[first + len(lines)] = read
                    read = b""
                lines.append(read)
                if len(lines) == _PAGE:
                    yield Page(first, lines, bad)
                    first, lines, bad = first + _PAGE, [], {}
            if lines:
                yield Page(first, lines, bad)

    def _record(self, reader: _Reader, number: int) -> bytes | BadRow | None:
        """Return the next record as JSON, or why it is none; None at the end."""
        while True:
            begins = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return None
            except csv.Error as error:
                return self._bad(f"it is not CSV: {error}", begins, number)
            if fields:  # an empty line is no record
                return self._made(fields, begins, number)

    def _made(self, fields: Sequence[str], begins: int, number: int) -> bytes | BadRow:
        if len(fields) != len(self.columns):
            return self._bad(
                f"it has {len(fields)} fields, and the first line names {len(self.columns)} columns",
                begins,
                number,
            )
        try:
            return _encode(dict(zip(self.columns, fields, strict=True)))
        except UnicodeEncodeError:
            wrong = next(
                name for name, field in zip(self.columns, fields, strict=True) if not _is_text(field)
            )
            return self._bad(f"the column {wrong!r} is not UTF-8", begins, number)

    def _bad(self, why: str, line: int, number: int) -> BadRow:
        return BadRow(f"line {line}: {why}", number=number, code="invalid_csv")

    def _open(self) -> IO[str]:
        # what is no UTF-8 comes through as it is, so that one wrong byte spoils one record and not the file
        return self._path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")

    def _names(self, first: str) -> tuple[str, ...]:
        names = next(iter(csv.reader([first], delimiter=self._separator)), list[str]())
        if not names:
            raise SettingsError(f"{self.name}: the file is empty; its first line must name the columns")
        if not _is_text(first):
            raise SettingsError(f"{self.name}: line 1: not UTF-8; convert the file, as iconv -t utf-8 does")
        named = tuple(name.strip() or f"column_{number}" for number, name in enumerate(names, 1))
        for name in named:
            if named.count(name) > 1:
                raise SettingsError(f"{self.name}: line 1: the column {name!r} is there twice; rename one")
        return named


def _is_text(text: str) -> bool:
    return not any("\udc80" <= each <= "\udcff" for each in text)
