"""A Parquet file: each record becomes a JSON object.  Needs pyarrow, the extra `parquet`.

Numbers, texts, lists and structs are themselves; a moment is written as RFC 3339, a decimal as a text, bytes in base64.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from stanchion.batch.rows import BadRow, Page
from stanchion.core.errors import SettingsError

if TYPE_CHECKING:
    from pyarrow import Schema
    from pyarrow.parquet import ParquetFile

_PAGE = 1000  # records
_NEEDS = "Parquet needs pyarrow, which is not installed: pip install 'stanchion[parquet]'"
_encode = msgspec.json.Encoder().encode


class ParquetSource:
    """The records of one file."""

    def __init__(self, path: Path, *, name: str = "") -> None:
        """Read what it says of itself.  Raises OSError, SettingsError."""
        self._path = path
        self.name = name or str(path)
        with self._open() as file:
            self.schema: Schema = file.schema_arrow
            self._records: int = file.metadata.num_rows
        self.columns: tuple[str, ...] = tuple(self.schema.names)
        for column in self.columns:
            if self.columns.count(column) > 1:
                raise SettingsError(f"{self.name}: the column {column!r} is there twice; rename one")

    def size(self) -> int:
        """Say how many records there are."""
        return self._records

    def pages(self) -> Iterator[Page]:
        """Read from the beginning.  Raises SettingsError where the file is damaged."""
        first = 1
        with self._open() as file:
            batches = iter(file.iter_batches(batch_size=_PAGE))
            while True:
                try:
                    batch = next(batches, None)
                    if batch is None:
                        return
                    records: list[dict[str, Any]] = batch.to_pylist()
                except (*arrow_errors(), OSError) as error:
                    raise self._damaged(error, f"after record {first - 1}") from None
                yield _page(first, records)
                first += len(records)

    def _open(self) -> ParquetFile:
        need_pyarrow()
        import pyarrow.parquet as pq  # noqa: PLC0415

        with self._path.open("rb"):
            pass  # a file that is not there is an OSError with its name, as everywhere
        try:
            return pq.ParquetFile(self._path)
        except (*arrow_errors(), OSError) as error:
            raise self._damaged(error, "at its end") from None

    def _damaged(self, error: Exception, place: str) -> SettingsError:
        words = str(error).split("\n", 1)[0].rstrip(".")
        return SettingsError(f"{self.name}: not a sound Parquet file ({place}): {words}")


def need_pyarrow() -> None:
    """Raise SettingsError where there is no pyarrow."""
    if importlib.util.find_spec("pyarrow") is None:
        raise SettingsError(_NEEDS)


def arrow_errors() -> tuple[type[Exception], ...]:
    """Return what pyarrow raises for a file or a value that it cannot read."""
    import pyarrow as pa  # noqa: PLC0415

    return (pa.ArrowException,)


def _page(first: int, records: list[dict[str, Any]]) -> Page:
    lines, bad = list[bytes](), dict[int, BadRow]()
    for number, record in enumerate(records, first):
        try:
            lines.append(_encode(record))
        except (TypeError, ValueError) as error:  # a kind of value that JSON has no form for
            lines.append(b"")
            bad[number] = BadRow(
                f"it cannot be written as JSON ({type(error).__name__})", number=number, code="invalid_row"
            )
    return Page(first, lines, bad)
