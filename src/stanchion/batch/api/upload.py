"""Reads a multipart/form-data body as it comes: fields into memory, the file's content to be written away.

RFC 7578.  Knows no disk and no network: whoever feeds it takes the pieces.
"""

from __future__ import annotations

import re

from stanchion.core.errors import InvalidCall

_BOUNDARY = re.compile(rb"""boundary="?([^";,\s]{1,70})"?""", re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILENAME = re.compile(rb'filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_HEAD_MOST = 16 * 1024  # bytes of one part's headers
_FIELD_MOST = 64 * 1024  # bytes of one plain field
_FIELDS_MOST = 50


class Upload:
    """One body.  `fields` and `filename` are there as soon as they came; `take` gives the file's content."""

    def __init__(self, content_type: bytes) -> None:
        """Raises InvalidCall if this is no multipart/form-data."""
        found = _BOUNDARY.search(content_type)
        if found is None or not content_type.lower().startswith(b"multipart/form-data"):
            raise InvalidCall("send the file as multipart/form-data, as the SDK does", code="no_multipart")
        self.fields: dict[str, str] = {}
        self.filename = ""
        self._mark = b"\r\n--" + found.group(1)
        self._rest = bytearray(b"\r\n")  # so that the first mark is like the others
        self._pieces: list[bytes] = []
        self._field = bytearray()
        self._name = ""
        self._is_file = False
        self._state = "before"

    @property
    def ended(self) -> bool:
        """Whether the body's end was read."""
        return self._state == "end"

    def take(self) -> bytes:
        """Return what came of the file since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def feed(self, data: bytes) -> None:
        """Read more of the body.  Raises InvalidCall."""
        self._rest += data
        while self._step():
            pass

    def _step(self) -> bool:
        """Read what is there of the present part; False if more is needed."""
        if self._state == "end":
            self._rest.clear()
            return False
        if self._state == "mark":
            return self._after_mark()
        if self._state == "head":
            return self._head()
        return self._body()

    def _after_mark(self) -> bool:
        if len(self._rest) < 2:
            return False
        following = bytes(self._rest[:2])
        if following == b"--":
            self._state = "end"
        elif following == b"\r\n":
            self._state = "head"
        else:
            raise _broken()
        del self._rest[:2]
        return True

    def _head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            if len(self._rest) > _HEAD_MOST:
                raise _broken()
            return False
        head = b"\r\n" + bytes(self._rest[:end])
        del self._rest[: end + 4]
        name, filename = _NAME.search(head), _FILENAME.search(head)
        self._name = name.group(1).decode("utf-8", "replace") if name is not None else ""
        self._is_file = self._name == "file" and filename is not None
        if self._is_file and filename is not None:
            self.filename = filename.group(1).decode("utf-8", "replace")
        self._field.clear()
        self._state = "body"
        return True

    def _body(self) -> bool:
        at = self._rest.find(self._mark)
        if at < 0:
            sure = len(self._rest) - len(self._mark)  # what follows could be the beginning of a mark
            if sure > 0:
                self._content(bytes(self._rest[:sure]))
                del self._rest[:sure]
            return False
        self._content(bytes(self._rest[:at]))
        del self._rest[: at + len(self._mark)]
        if self._state == "body" and not self._is_file:
            if len(self.fields) >= _FIELDS_MOST:
                raise _broken()
            self.fields[self._name] = self._field.decode("utf-8", "replace")
        self._state = "mark"
        return True

    def _content(self, piece: bytes) -> None:
        if self._state != "body":
            return  # before the first mark
        if self._is_file:
            self._pieces.append(piece)
            return
        self._field += piece
        if len(self._field) > _FIELD_MOST:
            raise InvalidCall(f"the field {self._name[:50]!r} is longer than {_FIELD_MOST} bytes", status=413)


def _broken() -> InvalidCall:
    return InvalidCall("the multipart body cannot be read", code="no_multipart")
