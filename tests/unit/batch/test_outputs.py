"""The files at the end: in which order, with what for rows that cannot be asked, and never half of one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from stanchion.batch.answers import Answer, Problem
from stanchion.batch.formats.openai_lines import ErrorOutput, OpenAIOutput
from stanchion.batch.forms.openai_lines import OpenAILines
from stanchion.batch.job import Job, Order, Outputs
from stanchion.batch.kept import answer_of, record_of
from stanchion.batch.outputs import write_outputs
from stanchion.batch.sources.jsonl import JsonLines
from stanchion.core.errors import StanchionError
from stanchion.core.usage import Usage
from stanchion.rules.row_key import RowKey
from stanchion.stores.journal.journal import Journal

FORM = OpenAILines()
KEY = RowKey(FORM.settled)


def line(name: str, text: str) -> bytes:
    body = {"model": "m", "messages": text}
    return json.dumps({"custom_id": name, "url": "/v1/chat/completions", "body": body}).encode()


def job(folder: Path, lines: list[bytes], *, order: Order = "input", limit: int = 0) -> Job:
    source = folder / "in.jsonl"
    source.write_bytes(b"\n".join(lines))
    outputs = Outputs(folder / "out.jsonl", OpenAIOutput(), folder / "errors.jsonl", ErrorOutput(), order)
    return Job(JsonLines(source), FORM, outputs, (), folder / "journal", limit=limit)


def journal(folder: Path, *kept: tuple[bytes, Answer]) -> Journal:
    async def write() -> None:
        opened = Journal.open(folder / "journal")
        for each, answer in kept:
            opened.put(record_of(KEY(FORM.content(each)), answer))
        await opened.aclose()

    asyncio.run(write())
    return Journal.open(folder / "journal")


def answered(text: str) -> Answer:
    return Answer(200, json.dumps({"said": text}).encode(), request_id=f"req-{text}")


def names(path: Path) -> list[str]:
    return [json.loads(each)["custom_id"] for each in path.read_bytes().splitlines()]


A, B, C = line("a", "1"), line("b", "2"), line("c", "3")
FAILED = Answer(400, problem=Problem("no", "bad"))


@pytest.mark.parametrize(
    ("order", "wanted"), [("input", ["a", "b", "twin", "c"]), ("completion", ["c", "a", "b", "twin"])]
)
def test_rows_stand_in_the_order_that_is_wanted(tmp_path: Path, order: Order, wanted: list[str]) -> None:
    kept = journal(tmp_path, (C, answered("3")), (A, answered("1")), (B, answered("2")))
    made = job(tmp_path, [A, B, line("twin", "2"), C], order=order)
    done = write_outputs(made, KEY, kept)
    kept.close()
    assert (done.rows, done.failed) == (4, 0)
    assert names(tmp_path / "out.jsonl") == wanted
    assert not (tmp_path / "errors.jsonl").exists()


def test_rows_that_failed_or_cannot_be_asked_stand_among_the_errors(tmp_path: Path) -> None:
    kept = journal(tmp_path, (A, answered("1")), (B, FAILED))
    made = job(tmp_path, [A, b"{broken", b"", B])
    done = write_outputs(made, KEY, kept)
    kept.close()
    assert (done.rows, done.failed) == (3, 2)
    assert names(tmp_path / "out.jsonl") == ["a"]
    assert names(tmp_path / "errors.jsonl") == ["row-2", "b"]
    first = json.loads((tmp_path / "errors.jsonl").read_bytes().splitlines()[0])
    assert first["error"]["code"] == "invalid_row"
    assert "row 2, column 2" in first["error"]["message"]


def test_an_output_of_which_a_row_is_missing_is_not_written(tmp_path: Path) -> None:
    kept = journal(tmp_path, (A, answered("1")))
    made = job(tmp_path, [A, B])
    with pytest.raises(StanchionError, match="row 2 has no answer"):
        write_outputs(made, KEY, kept)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.jsonl", "journal"]
    done = write_outputs(made, KEY, kept, partial=True)
    kept.close()
    assert (done.rows, done.undone) == (1, 1)
    assert names(tmp_path / "out.jsonl") == ["a"]


def test_only_the_first_rows_are_written_where_that_was_wanted(tmp_path: Path) -> None:
    kept = journal(tmp_path, (A, answered("1")))
    done = write_outputs(job(tmp_path, [b"", A, B], limit=1), KEY, kept)
    kept.close()
    assert (done.rows, names(tmp_path / "out.jsonl")) == (1, ["a"])


def test_an_answer_is_kept_whole() -> None:
    whole = Answer(429, b"{}", Problem("m", "c", "p", "t"), "r", "flex", 3, Usage(input=3, output=4), 77)
    assert answer_of(record_of(b"k" * 16, whole)) == whole
