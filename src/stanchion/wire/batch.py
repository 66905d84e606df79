"""OpenAI's Batch API: input lines, output lines, and the objects of files and batches.

What is not named here is not read.  Other providers that speak this protocol leave fields out, or write null.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stanchion.wire.errors import ErrorFacts

ENDED = frozenset(["completed", "failed", "expired", "cancelled"])
_encode = msgspec.json.Encoder().encode


class FileObject(msgspec.Struct, gc=False):
    """A file at the provider."""

    id: str
    bytes: int | None = None
    filename: str | None = None
    purpose: str | None = None
    created_at: int | None = None
    status: str | None = None


class BatchFault(msgspec.Struct, gc=False):
    """One reason why a batch could not begin."""

    code: str | None = None
    message: str | None = None
    line: int | None = None
    param: str | None = None


class BatchFaults(msgspec.Struct, gc=False):
    """All of them."""

    data: list[BatchFault] | None = None


class Counts(msgspec.Struct, gc=False):
    """How many of its requests are over."""

    total: int | None = None
    completed: int | None = None
    failed: int | None = None


class BatchObject(msgspec.Struct, gc=False):
    """A batch at the provider."""

    id: str
    status: str
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: BatchFaults | None = None
    created_at: int | None = None
    expires_at: int | None = None
    request_counts: Counts | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED

    @property
    def faults(self) -> list[BatchFault]:
        """Why it could not begin."""
        return (self.errors.data if self.errors is not None else None) or []


class BatchPage(msgspec.Struct, gc=False):
    """One page of a list of batches, the newest first."""

    data: list[BatchObject]
    has_more: bool | None = None


class Response(msgspec.Struct, gc=False):
    """What a line's request was answered with."""

    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")
    request_id: str | None = None


class _Error(msgspec.Struct, gc=False):
    code: str | None = None
    message: str | None = None


class BatchLine(msgspec.Struct, gc=False):
    """One line of an input file, an output file or an error file."""

    custom_id: str
    body: msgspec.Raw = msgspec.Raw(b"null")  # of an input line: what is asked
    response: Response | None = None
    error: _Error | None = None

    @property
    def fault(self) -> ErrorFacts | None:
        """Why it never was asked; None if it was."""
        if self.response is not None:
            return None
        told = self.error or _Error()
        return ErrorFacts(message=told.message or "", code=told.code)


read_file = msgspec.json.Decoder(FileObject).decode
read_batch = msgspec.json.Decoder(BatchObject).decode
read_page = msgspec.json.Decoder(BatchPage).decode
read_line = msgspec.json.Decoder(BatchLine).decode


def write_line(custom_id: str, url: str, body: bytes) -> bytes:
    """Write one line of an input file, with its end; `body` is a JSON object."""
    return b'{"custom_id":%b,"method":"POST","url":%b,"body":%b}\n' % (
        _encode(custom_id),
        _encode(url),
        body if b"\n" not in body and b"\r" not in body else msgspec.json.format(body, indent=-1),
    )


def write_create(file_id: str, url: str, metadata: Mapping[str, str]) -> bytes:
    """Write the body that creates a batch."""
    return _encode(
        {
            "input_file_id": file_id,
            "endpoint": url,
            "completion_window": "24h",
            "metadata": dict(metadata),
        }
    )


def form_head(boundary: str, filename: str) -> bytes:
    """Return what stands before a file's content in the body that uploads it for a batch."""
    return (
        f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{filename}"\r\n'
        "content-type: application/jsonl\r\n\r\n"
    ).encode()


def form_tail(boundary: str) -> bytes:
    """Return what stands after it."""
    return f"\r\n--{boundary}--\r\n".encode()
