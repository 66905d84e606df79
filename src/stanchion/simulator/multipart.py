"""The parts of a multipart/form-data body, as an upload of a file sends them.

Whole bodies only, in memory: the connection bounds their size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stanchion.simulator.errors import ApiError

_BOUNDARY = re.compile(r"""boundary="?([^";,]{1,200})"?""", re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILENAME = re.compile(rb'filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_MOST_PARTS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """One field: its content, and its file name if it is a file."""

    content: bytes
    filename: str | None = None

    @property
    def text(self) -> str:
        """The content of a plain field."""
        return self.content.decode("utf-8", "replace")


def read_parts(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields by name; of several with one name the last.  Raises ApiError 400."""
    found = _BOUNDARY.search(content_type)
    if found is None or not content_type.lower().startswith("multipart/form-data"):
        raise ApiError(400, "The request must be sent as multipart/form-data with a boundary.")
    mark = b"--" + found.group(1).encode("latin-1")
    if not body.startswith(mark) or (b"\r\n" + mark + b"--") not in body[-len(mark) - 64 :]:
        raise ApiError(400, "The multipart body is not complete.")
    parts: dict[str, Part] = {}
    start = len(mark)
    while len(parts) < _MOST_PARTS and body[start : start + 2] == b"\r\n":
        end = body.find(b"\r\n" + mark, start)
        head_end = body.find(b"\r\n\r\n", start, end)
        if end < 0 or head_end < 0:
            raise ApiError(400, "The multipart body is not complete.")
        head = body[start:head_end]
        name = _NAME.search(head)
        if name is not None:
            filename = _FILENAME.search(head)
            parts[name.group(1).decode("utf-8", "replace")] = Part(
                body[head_end + 4 : end],
                filename.group(1).decode("utf-8", "replace") if filename is not None else None,
            )
        start = end + 2 + len(mark)
    return parts
