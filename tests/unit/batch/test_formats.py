"""Outputs: OpenAI's lines, and rows with their answers in JSONL, CSV and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stanchion.batch.answers import Answer, Problem
from stanchion.batch.formats.advice import advice_for
from stanchion.batch.formats.format import OutputFormat
from stanchion.batch.formats.openai_lines import ErrorOutput, OpenAIOutput
from stanchion.batch.formats.records import Records
from stanchion.batch.formats.tables import CsvTable, JsonlTable, ParquetTable
from stanchion.batch.rows import Row
from stanchion.batch.sources.csv import CsvSource
from stanchion.core.usage import Usage
from tests.unit.batch.given import Given

KEY = bytes(range(16))
ROWS = [b'{"id":1,"text":"a","n":1.5,"more":null}', b'{"id":2,"tags":["x"],"n":2,"more":true}']


def answered(text: str = "Yes", **facts: Any) -> Answer:
    body = {"model": "m", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    return Answer(
        200, msgspec.json.encode(body), usage=Usage(input=3, output=1), cost_micro_usd=1234, **facts
    )


FAILED = Answer(429, b'{"error":{}}', Problem("No.", code="rate_limit_exceeded"), request_id="r1", attempts=3)


def written(form: OutputFormat, answers: Sequence[Answer], rows: Sequence[bytes] = ROWS) -> bytes:
    file = io.BytesIO()
    writer = form.open(file)
    for number, (line, answer) in enumerate(zip(rows, answers, strict=True), 1):
        writer.add(Row(number, line), f"row-{number}", KEY, answer)
    writer.close()
    return file.getvalue()


def lines(raw: bytes) -> list[dict[str, Any]]:
    assert raw.endswith(b"\n") or not raw
    return [msgspec.json.decode(line) for line in raw.splitlines()]


def test_openais_output_has_the_answers() -> None:
    (line,) = lines(written(OpenAIOutput(), [answered(request_id="r9"), FAILED]))
    assert line["id"] == "batch_req_000102030405060708090a0b0c0d0e0f"
    assert (line["custom_id"], line["error"]) == ("row-1", None)
    assert (line["response"]["status_code"], line["response"]["request_id"]) == (200, "r9")
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "Yes"


def test_the_file_of_errors_has_the_rest_with_what_to_do() -> None:
    unasked = Answer(0, problem=Problem("Line broken.", code="invalid_json"))
    first, second = lines(written(ErrorOutput(), [FAILED, unasked]))
    assert first["error"] == {"code": "rate_limit_exceeded", "message": "No.", "param": None, "type": None}
    assert first["response"] == {"status_code": 429, "request_id": "r1", "body": {"error": {}}}
    assert (first["row"], first["attempts"]) == (1, 3)
    assert "--retry-failed" in first["advice"]
    assert second["response"] is None
    assert "Mend the line" in second["advice"]
    assert written(ErrorOutput(), [answered(), answered()]) == b""


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{\n  "a": "b\\nc"\n}', {"a": "b\nc"}),
        (b"<html>\n</html>", "<html>\n</html>"),
        (b'{"a":', '{"a":'),
        (b"\xff", "�"),
        (b"", None),
    ],
)
def test_whatever_a_provider_sent_stays_one_line(body: bytes, wanted: object) -> None:
    (line,) = lines(written(OpenAIOutput(), [Answer(200, body)], ROWS[:1]))
    assert line["response"]["body"] == wanted


def test_a_row_has_its_answer_beside_its_columns() -> None:
    first, second = lines(written(JsonlTable(Records()), [answered(), FAILED]))
    assert first == {
        **msgspec.json.decode(ROWS[0]),
        "answer": "Yes",
        "answer_status": "ok",
        "answer_error": None,
        "answer_finish_reason": "stop",
        "answer_model": "m",
        "answer_input_tokens": 3,
        "answer_output_tokens": 1,
        "answer_cost_usd": 0.001234,
    }
    assert (second["answer"], second["answer_status"], second["answer_error"]) == (None, "failed", "No.")


def test_a_parsed_answer_is_its_json_under_its_own_name() -> None:
    records = Records(column="intent", parsed=True)
    (line,) = lines(written(JsonlTable(records), [answered('```json\n{"a": 1}\n```')], ROWS[:1]))
    assert line["intent"] == {"a": 1}
    assert "answer" not in line
    (line,) = lines(written(JsonlTable(records), [answered("no JSON")], ROWS[:1]))
    assert line["intent"] == "no JSON"


def test_a_line_that_is_no_record_is_kept_as_it_is() -> None:
    first, second = lines(written(JsonlTable(Records()), [FAILED, FAILED], [b"{broken", b"[1]"]))
    assert (first["line"], second["line"]) == ("{broken", [1])


def test_csv_has_the_columns_of_all_rows() -> None:
    raw = written(CsvTable(Records(), Given(ROWS)), [answered('say "hi",\nthen'), FAILED])
    first, second = csv.DictReader(io.StringIO(raw.decode(), newline=""))
    assert list(first)[:6] == ["id", "text", "n", "more", "tags", "answer"]
    assert (first["answer"], first["tags"], first["more"]) == ('say "hi",\nthen', "", "")
    assert (second["tags"], second["more"], second["answer_status"]) == ('["x"]', "true", "failed")


def test_csv_in_csv_out_keeps_columns_and_their_order(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("b,a\n1,x\n", encoding="utf-8")
    source = CsvSource(tmp_path / "in.csv")
    (page,) = source.pages()
    raw = written(CsvTable(Records(), source), [answered()], page.lines)
    assert raw.startswith(b"b,a,answer,")
    assert raw.splitlines()[1].startswith(b"1,x,Yes,ok,,stop,m,3,1,0.001234")


def test_parquet_has_each_column_in_its_kind() -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    rows = [*ROWS, b'{"id":3,"text":7,"n":null,"huge":99999999999999999999}', b"broken"]
    form = ParquetTable(Records(), Given(rows[:3]))
    answers = [answered(), FAILED, answered(), FAILED]
    raw = written(form, answers, rows)
    table = pq.read_table(io.BytesIO(raw))
    assert {name: str(table.schema.field(name).type) for name in table.schema.names} == {
        "id": "int64",
        "text": "string",
        "n": "double",
        "more": "bool",
        "tags": "string",
        "huge": "string",
        "answer": "string",
        "answer_status": "string",
        "answer_error": "string",
        "answer_finish_reason": "string",
        "answer_model": "string",
        "answer_input_tokens": "int64",
        "answer_output_tokens": "int64",
        "answer_cost_usd": "double",
    }
    found = table.to_pylist()
    assert [each["id"] for each in found] == [1, 2, 3, None]
    assert [each["n"] for each in found] == [1.5, 2.0, None, None]
    assert [each["text"] for each in found] == ["a", None, "7", None]
    assert found[1]["tags"] == '["x"]'
    assert found[2]["huge"] == "1e20" or found[2]["huge"] == "99999999999999999999"
    assert raw == written(form, answers, rows), "the same rows make the same bytes"


def test_a_large_parquet_file_is_written_in_groups() -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    rows = [b'{"id":%d}' % number for number in range(20_001)]
    raw = written(ParquetTable(Records(), Given(rows)), [answered()] * len(rows), rows)
    file = pq.ParquetFile(io.BytesIO(raw))
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (20_001, 3)


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (400, "", "mend the row"),
        (400, "context_length_exceeded", "Shorten"),
        (503, "unheard_of", "may pass by itself"),
        (0, "upstream_silent", "may pass by itself"),
        (409, "", "Read the message"),
    ],
)
def test_each_failure_says_what_to_do(status: int, code: str, told: str) -> None:
    assert told in advice_for(status, Problem("No.", code=code))
