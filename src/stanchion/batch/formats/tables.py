"""Rows with their answers as JSONL, as CSV and as Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from typing import IO, Any

import msgspec

from stanchion.batch.answers import Answer
from stanchion.batch.formats.columns import Columns, columns_of
from stanchion.batch.formats.records import Records
from stanchion.batch.rows import Row, Source
from stanchion.batch.sources.parquet import need_pyarrow

_GROUP = 10_000  # records in one group of a Parquet file, and in memory
_encode = msgspec.json.Encoder().encode


class JsonlTable:
    """A JSON object a line."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def open(self, file: IO[bytes]) -> _Lines:
        """Begin to write."""
        return _Lines(file, self._records)


class _Lines:
    def __init__(self, file: IO[bytes], records: Records) -> None:
        self._file, self._records = file, records

    def add(self, row: Row, custom_id: str, key: bytes, answer: Answer) -> None:
        del custom_id, key
        self._file.write(_encode(self._records.of(row, answer)) + b"\n")

    def close(self) -> None:
        """Nothing is left."""


class CsvTable:
    """A table as text.  Lists and objects are JSON in their cells, null is nothing."""

    def __init__(self, records: Records, source: Source) -> None:
        self._records, self._source = records, source

    def open(self, file: IO[bytes]) -> _Cells:
        """Begin to write: the names of the columns."""
        return _Cells(file, self._records, columns_of(self._source))


class _Cells:
    def __init__(self, file: IO[bytes], records: Records, columns: Columns) -> None:
        self._records = records
        self._names = list({**columns, **records.added})
        self._file = file
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._writer.writerow(self._names)

    def add(self, row: Row, custom_id: str, key: bytes, answer: Answer) -> None:
        del custom_id, key
        record = self._records.of(row, answer)
        self._writer.writerow([_cell(record.get(name)) for name in self._names])
        if self._text.tell() > io.DEFAULT_BUFFER_SIZE:
            self.close()

    def close(self) -> None:
        """Write what is gathered."""
        self._file.write(self._text.getvalue().encode())
        self._text.seek(0)
        self._text.truncate()


class ParquetTable:
    """A Parquet file.  Lists and objects, and columns with values of several kinds, are JSON as texts."""

    def __init__(self, records: Records, source: Source) -> None:
        """Raises SettingsError without pyarrow."""
        need_pyarrow()
        self._records, self._source = records, source

    def open(self, file: IO[bytes]) -> _Groups:
        """Begin to write."""
        return _Groups(file, self._records, {**columns_of(self._source), **self._records.added})


class _Groups:
    def __init__(self, file: IO[bytes], records: Records, columns: Columns) -> None:
        import pyarrow as pa  # noqa: PLC0415 - only for those who have Parquet
        from pyarrow.parquet import ParquetWriter  # noqa: PLC0415

        kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
        self._table = pa.table
        self._schema = pa.schema(
            [pa.field(name, kinds.get(kind, pa.string())) for name, kind in columns.items()]
        )
        self._writer = ParquetWriter(file, self._schema, compression="zstd")
        self._casts: Mapping[str, Callable[[Any], Any]] = {
            name: _CASTS.get(kind, _cell_or_none) for name, kind in columns.items()
        }
        self._columns: dict[str, list[Any]] = {name: [] for name in columns}
        self._records, self._count = records, 0

    def add(self, row: Row, custom_id: str, key: bytes, answer: Answer) -> None:
        del custom_id, key
        record = self._records.of(row, answer)
        for name, cast in self._casts.items():
            self._columns[name].append(cast(record.get(name)))
        self._count += 1
        if self._count == _GROUP:
            self._group()

    def close(self) -> None:
        """Write what is gathered, and the file's end."""
        if self._count:
            self._group()
        self._writer.close()

    def _group(self) -> None:
        self._writer.write_table(self._table(self._columns, schema=self._schema))
        for values in self._columns.values():
            values.clear()
        self._count = 0


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else _encode(value).decode()


def _cell_or_none(value: Any) -> str | None:
    return None if value is None else _cell(value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _claim(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


_CASTS: Mapping[type[Any], Callable[[Any], Any]] = {int: _whole, float: _number, bool: _claim}
