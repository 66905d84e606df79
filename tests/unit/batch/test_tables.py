"""CSV and Parquet: records in order, what cannot be read is told with its line, and the rest goes on."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.batch.rows import Source
from stanchion.batch.sources.csv import CsvSource
from stanchion.batch.sources.parquet import ParquetSource
from stanchion.core.errors import SettingsError


def rows_of(source: Source) -> list[Any]:
    """Return each record; a text is why there is none."""
    found = list[Any]()
    for page in source.pages():
        assert page.first == len(found) + 1
        for number, line in enumerate(page.lines, page.first):
            bad = page.bad.get(number)
            assert bad is None or bad.number == number
            found.append(str(bad) if bad is not None else msgspec.json.decode(line))
    return found


@pytest.fixture
def table(tmp_path: Path):
    def write(content: bytes) -> CsvSource:
        (tmp_path / "in.csv").write_bytes(content)
        return CsvSource(tmp_path / "in.csv", name="in.csv")

    return write


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a,b\n1,x\n2,y\n", [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]),
        (b"\xef\xbb\xbfa;b\r\n1;x\r\n", [{"a": "1", "b": "x"}]),
        (b"a\tb\n1\tx", [{"a": "1", "b": "x"}]),
        (b'a,b\n"1\n2","x ""y"""\n\n3,\n', [{"a": "1\n2", "b": 'x "y"'}, {"a": "3", "b": ""}]),
        ("a,文\n1,你好\n".encode(), [{"a": "1", "文": "你好"}]),
        (b"a,,\n1,2,3\n", [{"a": "1", "column_2": "2", "column_3": "3"}]),
        (b"a,b\n", []),
    ],
)
def test_records_are_read_by_the_names_of_the_first_line(table, content: bytes, rows: list[object]) -> None:
    assert rows_of(table(content)) == rows


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (
            b"a,b\n1\n2,y\n",
            ["line 2: it has 1 fields, and the first line names 2 columns", {"a": "2", "b": "y"}],
        ),
        (
            b"a,b\n\n1,2,3\n2,y\n",
            ["line 3: it has 3 fields, and the first line names 2 columns", {"a": "2", "b": "y"}],
        ),
        (b'a,b\n"1"x,2\n2,y\n', ["line 2: it is not CSV: ',' expected after '\"'", {"a": "2", "b": "y"}]),
        (b"a,b\n1,\xff\n2,y\n", ["line 2: the column 'b' is not UTF-8", {"a": "2", "b": "y"}]),
        (b'a,b\n1,x\n2,"y\n', [{"a": "1", "b": "x"}, "line 3: it is not CSV: unexpected end of data"]),
    ],
)
def test_a_bad_record_is_told_with_its_line_and_the_next_is_read(
    table, content: bytes, rows: list[object]
) -> None:
    assert rows_of(table(content)) == rows


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b"a,b,a\n", "'a' is there twice"),
        (b"a,\xff\n", "not UTF-8"),
    ],
)
def test_a_table_without_usable_names_is_refused(table, content: bytes, told: str) -> None:
    with pytest.raises(SettingsError, match=f"in.csv: .*{told}"):
        table(content)


def test_many_records_come_in_pages_and_their_number_is_foretold(table) -> None:
    source = table(b"id,text\n" + b"".join(b"%d,some text\n" % number for number in range(2500)))
    assert [record["id"] for record in rows_of(source)] == [str(number) for number in range(2500)]
    assert abs(source.size() - 2500) < 100
    assert rows_of(source) == rows_of(source), "it can be read again"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_what_a_spreadsheet_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, cells: Sequence[tuple[str, str]]
) -> None:
    wanted = [(a, b) for a, b in cells if "\0" not in a + b and _utf8(a + b)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *wanted])
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_bytes(text.getvalue().encode())
    assert rows_of(CsvSource(path)) == [{"a": a, "b": b} for a, b in wanted]


def _utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def test_a_parquet_file_gives_its_records_as_json(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    import pyarrow.parquet as pq

    at = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
    columns = {
        "id": list(range(2300)),
        "text": ["你好"] * 2300,
        "tags": [["a", "b"]] * 2300,
        "at": [at] * 2300,
        "price": [Decimal("1.50")] * 2300,
        "gone": [None] * 2300,
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    source = ParquetSource(tmp_path / "in.parquet")
    assert (source.size(), source.columns) == (2300, tuple(columns))
    found = rows_of(source)
    assert len(found) == 2300
    assert found[-1] == {
        "id": 2299,
        "text": "你好",
        "tags": ["a", "b"],
        "at": "2026-11-24T12:00:00Z",
        "price": "1.50",
        "gone": None,
    }


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(200) + b"PAR1"])
def test_a_damaged_parquet_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    (tmp_path / "in.parquet").write_bytes(content)
    with pytest.raises(SettingsError, match=r"in\.parquet: not a sound Parquet file"):
        ParquetSource(tmp_path / "in.parquet", name="in.parquet")


def test_a_file_that_is_not_there_is_told_as_everywhere(tmp_path: Path) -> None:
    for kind in (CsvSource, ParquetSource):
        with pytest.raises(FileNotFoundError):
            kind(tmp_path / "none")
