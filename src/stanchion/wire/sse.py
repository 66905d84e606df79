"""Server-sent events: cut a byte stream at event boundaries, and read events out of whole pieces.

Source: HTML Living Standard, "Server-sent events", parsing an event stream.  Lines end with LF, CR LF
or CR; an event ends at an empty line; a line that starts with ':' is a comment.
"""

from __future__ import annotations

import re

_BOUNDARY = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")  # the end of a line, and an empty line
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"  # may stand at a stream's beginning, and means nothing
DONE = b"[DONE]"


class TooLong(ValueError):
    """One event is longer than the bound."""


class Cutter:
    """Collects bytes and hands out as many whole events as there are.

    `feed` costs nothing where the provider sends one event per network read, as they do.
    """

    __slots__ = ("_most", "_pending")

    def __init__(self, most: int = 16 * 1024 * 1024) -> None:
        """`most`: bytes one event may have."""
        self._pending = b""
        self._most = most

    def feed(self, data: bytes) -> bytes:
        """Take in bytes; return those of the whole events so far, b"" if there is none.

        Raises TooLong.
        """
        if self._pending:
            data = self._pending + data
        if data.endswith(b"\n\n"):
            self._pending = b""
            return data
        end = _last_boundary(data)
        self._pending = data[end:]
        if len(self._pending) > self._most:
            raise TooLong(f"an event is longer than {self._most} bytes")
        return data[:end]

    @property
    def pending(self) -> bytes:
        """What came after the last whole event."""
        return self._pending


def _last_boundary(data: bytes) -> int:
    """Return the offset behind the last event boundary; 0 if there is none."""
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    end = 0
    for found in _BOUNDARY.finditer(data):
        end = found.end()
    # "\r\n\r" may still become "\r\n\r\n": a lone "\n" that follows is an empty line and does no harm
    return end


def split(raw: bytes) -> list[bytes]:
    """Split whole events apart.  No part is empty."""
    if b"\r" not in raw:
        return [part for part in raw.split(b"\n\n") if part]
    return [part for part in _BOUNDARY.split(raw) if part.strip(b"\r\n")]


def read(event: bytes) -> tuple[str, bytes]:
    """Read one event: its name ("" if it has none) and its data (b"" if it has none)."""
    if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
        return "", event[6:]  # what nearly all events look like
    name = ""
    data: list[bytes] = []
    for line in _LINE_END.split(event.removeprefix(_BOM)):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return name, b"\n".join(data)


def write(data: bytes, *, name: str = "") -> bytes:
    """Write one event.  `data` is JSON text, so it holds no line end."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + data + b"\n\n"
