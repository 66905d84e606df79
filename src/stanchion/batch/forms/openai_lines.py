"""OpenAI's batch lines (`custom_id`, `method`, `url`, `body`), and bare request bodies, one a line.

A line's answer depends on its URL and on its body byte for byte; the body is not decoded to know that.  Two bodies
that mean the same and are written differently are asked twice.
"""

from __future__ import annotations

import re

import msgspec

from stanchion.batch.rows import BadRow, Request, Row
from stanchion.core.call import Operation

_OPERATIONS = {f"/v1/{each.path}": each for each in Operation if each is not Operation.MODELS}
_PLACE = re.compile(r"\(byte (\d+)\)")


class _Line(msgspec.Struct, gc=False):
    """A batch line; of a bare body all is missing."""

    body: msgspec.Raw = msgspec.Raw()
    url: str = ""
    method: str = "POST"
    custom_id: str = ""


class _Content(msgspec.Struct, gc=False):
    """What of a line decides its answer, as it stands there."""

    body: msgspec.Raw = msgspec.Raw()
    url: msgspec.Raw = msgspec.Raw(b'""')


_content = msgspec.json.Decoder(_Content).decode
_read = msgspec.json.Decoder(_Line).decode


class OpenAILines:
    """A `Form`.  `bare` is what a line asks that is a body alone."""

    settled = b"openai-lines"

    def __init__(self, bare: Operation = Operation.CHAT) -> None:
        self._bare = f"/v1/{bare.path}"
        self._written = b'"%b"' % self._bare.encode()

    def content(self, line: bytes) -> bytes:
        """Return the URL and the body as they stand there.  Raises BadRow."""
        try:
            read = _content(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_json(error) from None
        return b"%b %b" % ((read.url, read.body) if read.body else (self._written, line))

    def request(self, row: Row) -> Request:
        """Return what a line asks.  Raises BadRow."""
        try:
            read = _read(row.line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_json(error) from None
        if not read.body:
            return Request(named(row), _OPERATIONS[self._bare], row.line)
        operation = _OPERATIONS.get(read.url)
        if operation is None:
            known = ", ".join(_OPERATIONS)
            raise BadRow(f"url is {read.url!r}; it must be one of {known}", param="url")
        if read.method != "POST":
            raise BadRow(f"method is {read.method!r}; it must be POST", param="method")
        return Request(read.custom_id or named(row), operation, bytes(read.body))

    def custom_id(self, row: Row) -> str:
        """Return the line's `custom_id`, else its place."""
        try:
            return _read(row.line).custom_id or named(row)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_json(error) from None


def named(row: Row) -> str:
    """Call a row by its place, where it has no other name."""
    return f"row-{row.number}"


def bad_json(error: Exception) -> BadRow:
    """Make the error of a line that is no JSON of the wanted shape; the decoder's words hold no text of it."""
    said = str(error)
    place = _PLACE.search(said)
    return BadRow(f"this line is no request: {said}", column=int(place[1]) + 1 if place else 0)
