"""Uploads, read as they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.batch.api.upload import Upload
from stanchion.core.errors import InvalidCall

KIND = b'multipart/form-data; boundary="a-b"'


def body_of(content: bytes, name: str = "in.jsonl") -> bytes:
    return (
        b'--a-b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--a-b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--a-b--\r\n"
    ) % (name.encode(), content)


def fed(body: bytes, cuts: list[int]) -> tuple[Upload, bytes]:
    upload, found, start = Upload(KIND), b"", 0
    for end in [*sorted(cut % (len(body) + 1) for cut in cuts), len(body)]:
        upload.feed(body[start:end])
        found += upload.take()
        start = end
    return upload, found


@given(
    st.one_of(
        st.binary(max_size=300), st.sampled_from([b"\r\n--a-", b"\r\n--a-c", b"--a-b", b"\r\n", b"\r\n-"])
    ),
    st.lists(st.integers(0, 10_000), max_size=40),
)
def test_however_a_body_is_cut_the_file_is_the_same(content: bytes, cuts: list[int]) -> None:
    content = content.replace(b"\r\n--a-b", b"")
    upload, found = fed(body_of(content), cuts)
    assert upload.ended
    assert found == content
    assert upload.fields == {"purpose": "batch"}
    assert upload.filename == "in.jsonl"


def test_every_byte_alone_gives_the_same() -> None:
    content = b"a\r\n--a-x\r\n\r\n--a" * 3
    body = body_of(content)
    upload, found = fed(body, list(range(len(body))))
    assert (upload.ended, found) == (True, content)


def test_a_name_in_another_language_is_read() -> None:
    upload, _ = fed(body_of(b"x", "请求.jsonl"), [])
    assert upload.filename == "请求.jsonl"


def test_a_body_without_its_end_has_not_ended() -> None:
    body = body_of(b"some content")
    upload, _ = fed(body[:-8], [])
    assert not upload.ended


@pytest.mark.parametrize(
    "kind", [b"", b"application/json", b"multipart/form-data", b"multipart/mixed; boundary=a"]
)
def test_what_is_no_form_is_refused(kind: bytes) -> None:
    with pytest.raises(InvalidCall):
        Upload(kind)


@pytest.mark.parametrize(
    "body",
    [
        b"--a-bX\r\n",
        b"--a-b\r\n" + b"x" * 20_000,
        b'--a-b\r\ncontent-disposition: form-data; name="p"\r\n\r\n' + b"x" * 70_000,
        b"".join(b'--a-b\r\ncontent-disposition: form-data; name="p%d"\r\n\r\nx\r\n' % n for n in range(60)),
    ],
)
def test_what_would_fill_the_memory_is_refused(body: bytes) -> None:
    upload = Upload(KIND)
    with pytest.raises(InvalidCall):
        upload.feed(body)
