"""The files of callers, in a folder: each a `.json` with what is known of it beside a `.data`.

Bounded for each caller, and gone after some days.  A caller sees its own files alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stanchion.core.errors import InvalidCall, LimitReached

_FILES_MOST = 1000  # of one caller
_DAY_S = 86400.0


class StoredFile(msgspec.Struct, frozen=True):
    """What is known of a file."""

    id: str
    owner: str
    filename: str
    purpose: str
    bytes: int
    created_at: int  # seconds since 1970
    expires_at: int

    def shown(self) -> dict[str, object]:
        """Return the file as OpenAI's API shows it."""
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "status": "processed",
            "status_details": None,
        }


class FileStore:
    """All files of all callers.  Its methods touch the disk shortly: only content is read and written in threads."""

    def __init__(self, folder: Path, *, caller_most_bytes: int, keep_days: float) -> None:
        self._folder = folder
        self._caller_most = caller_most_bytes
        self._keep_s = keep_days * _DAY_S
        self._files: dict[str, StoredFile] = {}

    def open(self) -> None:
        """Read what is there; what was half written is removed.  Raises OSError.  Call it in a thread."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.glob("file-*.json"):
            with contextlib.suppress(msgspec.MsgspecError, OSError):
                file = msgspec.json.decode(path.read_bytes(), type=StoredFile)
                self._files[file.id] = file
        for path in self._folder.glob("file-*.data"):
            if path.stem not in self._files:
                path.unlink(missing_ok=True)

    def room(self, owner: str) -> int:
        """Return how many bytes a caller may still keep.  Raises LimitReached if it has too many files."""
        own = self.of(owner)
        if len(own) >= _FILES_MOST:
            raise LimitReached(
                f"you keep {_FILES_MOST} files, the most there may be: delete some", code="too_many_files"
            )
        return self._caller_most - sum(file.bytes for file in own)

    def new_path(self) -> tuple[str, Path]:
        """Return the id of a new file, and where its content is to be written."""
        name = f"file-{secrets.token_hex(12)}"
        return name, self._folder / f"{name}.data"

    def add(self, name: str, *, owner: str, filename: str, purpose: str) -> StoredFile:
        """Take a file whose content is written."""
        now = int(time.time())
        file = StoredFile(
            name,
            owner,
            filename[:255],
            purpose,
            self.path(name).stat().st_size,
            now,
            now + int(self._keep_s),
        )
        write_whole(self._folder / f"{name}.json", msgspec.json.encode(file))
        self._files[name] = file
        return file

    def get(self, name: str, owner: str, *, param: str = "id") -> StoredFile:
        """Return a caller's file; `param` is where it was named.  Raises InvalidCall (404)."""
        file = self._files.get(name)
        if file is None or file.owner != owner:
            raise InvalidCall("you have no such file here", status=404, code="file_not_found", param=param)
        return file

    def of(self, owner: str) -> Sequence[StoredFile]:
        """Return a caller's files, the newest first."""
        own = [file for file in self._files.values() if file.owner == owner]
        return sorted(own, key=lambda file: (file.created_at, file.id), reverse=True)

    def path(self, name: str) -> Path:
        """Return where a file's content is."""
        return self._folder / f"{name}.data"

    def delete(self, name: str) -> None:
        """Remove a file."""
        self._files.pop(name, None)
        for ending in ("json", "data"):
            (self._folder / f"{name}.{ending}").unlink(missing_ok=True)

    def sweep(self, kept: set[str]) -> int:
        """Remove what has expired and is not in use; return how many."""
        now = time.time()
        gone = [file.id for file in self._files.values() if file.expires_at <= now and file.id not in kept]
        for name in gone:
            self.delete(name)
        return len(gone)


def write_whole(path: Path, raw: bytes) -> None:
    """Replace a small file as a whole, and wait for the disk."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
