"""Lines as a job reads and names them: JSONL of any layout, and keys that depend on what is asked alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.batch.forms.openai_lines import OpenAILines
from stanchion.batch.rows import BadRow, Row
from stanchion.batch.sources.jsonl import JsonLines
from stanchion.core.call import Operation
from stanchion.rules.row_key import KEY_BYTES, RowKey, job_key

FORM = OpenAILines()
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
CHAT = b"/v1/chat/completions"


def line(custom_id: str, body: bytes = BODY, url: bytes = CHAT) -> bytes:
    return b'{"custom_id":%b,"method":"POST","url":"%b","body":%b}' % (
        json.dumps(custom_id).encode(),
        url,
        body,
    )


def test_a_line_is_asked_as_it_stands() -> None:
    asked = FORM.request(Row(3, line("x")))
    assert (asked.custom_id, asked.operation, asked.body) == ("x", Operation.CHAT, BODY)
    assert FORM.request(Row(3, line("e", url=b"/v1/embeddings"))).operation is Operation.EMBEDDINGS


def test_a_bare_body_is_named_by_its_place_and_asks_what_a_line_of_it_asks() -> None:
    asked = FORM.request(Row(7, BODY))
    assert (asked.custom_id, asked.operation, asked.body) == ("row-7", Operation.CHAT, BODY)
    assert FORM.content(BODY) == FORM.content(line("any"))


def test_what_a_row_is_called_is_no_part_of_what_it_asks() -> None:
    assert FORM.content(line("a")) == FORM.content(line("b"))
    other = b'{"body":%b,"url":"%b","custom_id":"c"}' % (BODY, CHAT)
    assert FORM.content(other) == FORM.content(line("a"))
    assert FORM.content(line("a", url=b"/v1/responses")) != FORM.content(line("a"))
    assert FORM.content(line("a", BODY.replace(b"hi", b"ho"))) != FORM.content(line("a"))


@pytest.mark.parametrize(
    ("broken", "said", "column"),
    [
        (b'{"custom_id": broken', "no request", 15),
        (b"[1]", "no request", 0),
        (line("a", url=b"/v1/images"), "url is '/v1/images'", 0),
        (line("a").replace(b"POST", b"GET"), "method is 'GET'", 0),
        (line("a").replace(b'"a"', b"5"), "no request", 0),
    ],
)
def test_a_line_that_is_no_request_says_what_and_where(broken: bytes, said: str, column: int) -> None:
    with pytest.raises(BadRow) as raised:
        FORM.request(Row(1, broken))
    assert said in str(raised.value)
    assert raised.value.column == column


@given(st.lists(st.binary(max_size=20), max_size=4), st.lists(st.binary(max_size=20), max_size=4))
def test_what_jobs_have_in_common_is_told_apart_part_by_part(one: list[bytes], other: list[bytes]) -> None:
    assert (job_key(*one) == job_key(*other)) == (one == other)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_a_key_is_of_the_job_and_of_the_content(job: bytes, row: bytes, job2: bytes, row2: bytes) -> None:
    key = RowKey(job)(row)
    assert len(key) == KEY_BYTES
    assert (key == RowKey(job2)(row2)) == ((job, row) == (job2, row2))


@given(
    st.lists(st.sampled_from([b"", b"{}", b"  ", b'{"a":1}', b"x" * 70_000, b"y" * 300_000]), max_size=8),
    st.booleans(),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)
def test_lines_come_whole_and_numbered_however_the_file_is_laid_out(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ended: bool, end: bytes, bom: bool
) -> None:
    path = tmp_path_factory.mktemp("rows") / "in.jsonl"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + end.join(lines) + (end if ended else b""))
    source = JsonLines(path)
    found = [(page.first + at, each) for page in source.pages() for at, each in enumerate(page.lines) if each]
    assert found == [(number, each.strip()) for number, each in enumerate(lines, 1) if each.strip()]


def test_the_number_of_rows_is_estimated(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"x" * 99 + b"\n")
    assert JsonLines(path).size() == 2
    path.write_bytes((b"x" * 99 + b"\n") * 20_000)
    assert 19_000 <= JsonLines(path).size() <= 21_000
    path.write_bytes(b"")
    assert JsonLines(path).size() == 0
