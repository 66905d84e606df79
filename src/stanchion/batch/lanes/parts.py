"""A part: the requests that go into one batch of a provider, on the disk beside the journal.

    ID.form   the body that uploads the file, as it is sent
    ID.rows   where each row's line stands in it: key 16, row number 8, offset 8, length 4
    ID.json   what became of it.  Written last and replaced as a whole, so a part is there or is not

Rows wait here and not in memory, and a run that is taken up again finds what was sent and is still to come.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Literal

import msgspec

from stanchion.batch.lanes.lane import Item
from stanchion.batch.rows import Request
from stanchion.core.call import Operation
from stanchion.wire.batch import BatchLine, form_head, form_tail, read_line, write_line

_ROW = Struct("<16sQQI")
_OPERATIONS = {each.path: each for each in Operation}
_OVERHEAD_BYTES = 4096  # of the form around the lines


class Part(msgspec.Struct):
    """What is known of a part.  `save` makes it outlive us."""

    id: str  # also in the batch's metadata: by it a batch is found again
    place: str  # "provider/model"
    operation: str  # its path
    asked: str  # the model as the rows name it
    boundary: str
    rows: int = 0
    tokens: int = 0  # of the prompts, about
    tries: int = 1  # how often its rows were in a batch, this one too
    mended: int = 0  # how often it was made anew since the provider did not take it
    replaces: str = ""  # the part whose rows these are: it counts until it is gone
    stage: Literal["written", "creating", "created"] = "written"
    key: str = ""  # the name of the key it is sent with
    file_id: str = ""
    batch_id: str = ""
    id_again: int = 0  # batches of it that failed before they began
    created_at: float = 0.0  # seconds since 1970

    @property
    def asks(self) -> Operation:
        """What its rows ask."""
        return _OPERATIONS[self.operation]


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a row stands in a part."""

    number: int
    offset: int
    length: int


class PartFolder:
    """All parts of a job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "parts"

    def load(self, *, unsent: bool = True) -> list[Part]:
        """Return the parts that are there; what was half written is removed, without `unsent` also what was not sent."""
        if not self.folder.is_dir():
            return []
        parts = {path.stem: _read(path) for path in sorted(self.folder.glob("*.json"))}
        for part in list(parts.values()):
            if part.replaces in parts:  # killed between the two: the old one counts
                del parts[part.id]
        if not unsent:
            parts = {name: part for name, part in parts.items() if part.stage != "written"}
        for path in self.folder.iterdir():
            if path.name.partition(".")[0] not in parts or path.suffix not in (".json", ".form", ".rows"):
                path.unlink(missing_ok=True)
        return list(parts.values())

    def is_empty(self) -> bool:
        """Whether no part is there: nothing was sent that has not come back."""
        return next(self.folder.glob("*.json"), None) is None

    def path(self, part: Part, kind: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / f"{part.id}.{kind}"

    def save(self, part: Part) -> None:
        """Write down what became of a part, and wait for the disk."""
        path = self.path(part, "json")
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(part))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync_folder(self.folder)

    def remove(self, part: Part) -> None:
        """Remove a part.  Its facts go first: the rest is then nothing."""
        for kind in ("json", "form", "rows", "out", "err"):
            with contextlib.suppress(FileNotFoundError):
                self.path(part, kind).unlink()

    def keys(self, part: Part) -> list[bytes]:
        """Return the keys of a part's rows."""
        raw = self.path(part, "rows").read_bytes()
        return [raw[at : at + 16] for at in range(0, len(raw), _ROW.size)]

    def places(self, part: Part) -> dict[bytes, Place]:
        """Return where each of a part's rows stands, in its order."""
        raw = self.path(part, "rows").read_bytes()
        return {key: Place(*rest) for key, *rest in _ROW.iter_unpack(raw)}

    def items(self, part: Part, places: Mapping[bytes, Place]) -> Iterator[Item]:
        """Return the items of these rows, with the bodies as they came."""
        there = part.place.partition("/")[2]
        with self.path(part, "form").open("rb") as form:
            for key, place in places.items():
                form.seek(place.offset)
                body = bytes(read_line(form.read(place.length)).body)
                if part.asked != there:
                    body = with_model(body, part.asked)
                yield Item(key, place.number, Request("", part.asks, body), part.tries)


class PartWriter:
    """Writes one part.  Nothing of it counts until `close`."""

    def __init__(self, folder: PartFolder, part: Part, url: str) -> None:
        folder.folder.mkdir(parents=True, exist_ok=True)
        self.part = part
        self.size = _OVERHEAD_BYTES
        self._folder = folder
        self._url = url
        self._form: BinaryIO = folder.path(part, "form").open("wb")
        self._rows = bytearray()
        self._lines: list[bytes] = []
        head = form_head(part.boundary, f"{part.id}.jsonl")
        self._lines.append(head)
        self._offset = len(head)

    @property
    def model(self) -> str:
        """The model as it is called there."""
        return self.part.place.partition("/")[2]

    def add(self, key: bytes, number: int, body: bytes) -> None:
        """Take a row."""
        line = write_line(key.hex(), self._url, body)
        self._rows += _ROW.pack(key, number, self._offset, len(line))
        self._offset += len(line)
        self.size += len(line)
        self._lines.append(line)
        self.part.rows += 1
        self.part.tokens += tokens_of(body)

    def flush(self) -> None:
        """Write what was taken.  Call it in a thread."""
        lines, self._lines = self._lines, []
        self._form.write(b"".join(lines))

    def close(self) -> None:
        """Finish the part: from now on it counts.  Call it in a thread."""
        self._lines.append(form_tail(self.part.boundary))
        self.flush()
        rows = self._folder.path(self.part, "rows").open("wb")
        rows.write(self._rows)
        self._rows = bytearray()  # who wrote a part may be held as long as it lives
        for file in (self._form, rows):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        self._folder.save(self.part)

    def drop(self) -> None:
        """Leave the part unwritten."""
        self._form.close()
        self._folder.remove(self.part)


def new_part(place: str, operation: Operation, asked: str, *, tries: int = 1, replaces: str = "") -> Part:
    """Begin a part."""
    return Part(
        id=secrets.token_hex(12),
        place=place,
        operation=operation.path,
        asked=asked,
        boundary=f"stanchion-{secrets.token_hex(16)}",  # occurs in no file
        tries=tries,
        replaces=replaces,
    )


def read_answers(path: Path, at_once: int = 500) -> Iterator[list[BatchLine]]:
    """Read a downloaded file in pieces; lines that say nothing are left out."""
    with path.open("rb") as file:
        found: list[BatchLine] = []
        for line in file:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                found.append(read_line(line))
            if len(found) >= at_once:
                yield found
                found = []
        if found:
            yield found


def with_model(body: bytes, model: str) -> bytes:
    """Return a body that asks another model, and no stream.  Raises msgspec.DecodeError."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    fields.pop("stream", None)
    fields.pop("stream_options", None)
    return msgspec.json.encode(fields)


def tokens_of(body: bytes) -> int:
    """Return about how many tokens a request's prompt has."""
    return len(body) // 4 + 1


def total(parts: Sequence[Part]) -> int:
    """Return the prompt tokens of several parts."""
    return sum(part.tokens for part in parts)


def _read(path: Path) -> Part:
    return msgspec.json.decode(path.read_bytes(), type=Part)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
