"""/v1/files: upload, list, look at, read, delete.  In memory, at most so many bytes; the oldest go first.

Files belong to an organization, so keys of one organization see each other's, as at OpenAI.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar
from urllib.parse import parse_qs

import msgspec

from stanchion.simulator.answer import ENCODER
from stanchion.simulator.errors import ApiError
from stanchion.simulator.multipart import read_parts

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MOST_HELD = 2 * 1024 * 1024 * 1024
_Listed = TypeVar("_Listed")


class StoredFile(msgspec.Struct, kw_only=True):
    """One file; `shown` is what the API says of it."""

    id: str
    filename: str
    purpose: str
    content: bytes
    owner: str
    created_at: int
    expires_at: int | None = None
    status: Literal["uploaded", "processed", "error"] = "processed"

    def shown(self) -> dict[str, object]:
        """The file as the API shows it."""
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": len(self.content),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "status": self.status,
            "status_details": None,
        }


class FileStore:
    """All files."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}
        self._held = 0

    def add(
        self, content: bytes, *, filename: str, purpose: str, owner: str, expires_s: int | None = None
    ) -> StoredFile:
        """Keep a file; the oldest give way."""
        now = int(time.time())
        file = StoredFile(
            id=f"file-{secrets.token_hex(12)}",
            filename=filename,
            purpose=purpose,
            content=content,
            owner=owner,
            created_at=now,
            expires_at=now + expires_s if expires_s is not None else None,
        )
        self._files[file.id] = file
        self._held += len(content)
        while self._held > _MOST_HELD and len(self._files) > 1:
            self._drop(next(iter(self._files)))
        return file

    def get(self, name: str, owner: str) -> StoredFile:
        """The file of that id.  Raises ApiError 404."""
        file = self._files.get(name)
        if file is None or file.owner != owner:
            raise ApiError(404, f"No such File object: {name}", param="id")
        return file

    def of(self, owner: str) -> list[StoredFile]:
        """All files of an owner, the oldest first."""
        return [file for file in self._files.values() if file.owner == owner]

    def delete(self, name: str, owner: str) -> None:
        """Remove a file.  Raises ApiError 404."""
        self._drop(self.get(name, owner).id)

    def _drop(self, name: str) -> None:
        self._held -= len(self._files.pop(name).content)


def upload(store: FileStore, owner: str, content_type: str, body: bytes) -> bytes:
    """POST /v1/files."""
    parts = read_parts(content_type, body)
    file, purpose = parts.get("file"), parts.get("purpose")
    if file is None or file.filename is None:
        raise ApiError(400, "'file' is a required property", param="file")
    if purpose is None or purpose.text not in PURPOSES:
        given = purpose.text if purpose is not None else ""
        raise ApiError(400, f"'{given}' is not one of {list(PURPOSES)} - 'purpose'", param="purpose")
    if purpose.text == "batch" and not file.filename.endswith(".jsonl"):
        raise ApiError(400, "Invalid file format for Batch API. Must be .jsonl", param="file")
    seconds = parts.get("expires_after[seconds]")
    expires_s = int(seconds.text) if seconds is not None and seconds.text.isdigit() else None
    kept = store.add(
        file.content, filename=file.filename, purpose=purpose.text, owner=owner, expires_s=expires_s
    )
    return ENCODER.encode(kept.shown())


def listing(store: FileStore, owner: str, query: str) -> bytes:
    """GET /v1/files."""
    asked = parse_qs(query)
    files = store.of(owner)
    if asked.get("order", ["desc"])[0] != "asc":
        files.reverse()
    purpose = asked.get("purpose", [""])[0]
    if purpose:
        files = [file for file in files if file.purpose == purpose]
    return page(files, query, StoredFile.shown, lambda file: file.id, usual=10_000, most=10_000)


def page(
    found: Sequence[_Listed],
    query: str,
    show: Callable[[_Listed], dict[str, object]],
    name: Callable[[_Listed], str],
    *,
    usual: int,
    most: int,
) -> bytes:
    """One page of a list by `after` and `limit`.  Raises ApiError 400."""
    asked = parse_qs(query)
    limit = asked.get("limit", [str(usual)])[0]
    if not limit.isdigit() or not 1 <= int(limit) <= most:
        raise ApiError(400, f"Invalid 'limit': {limit!r} is not between 1 and {most}.", param="limit")
    after = asked.get("after", [""])[0]
    start = 0
    if after:
        ids = [name(each) for each in found]
        if after not in ids:
            raise ApiError(400, f"Invalid 'after': there is no {after!r}.", param="after")
        start = ids.index(after) + 1
    shown = found[start : start + int(limit)]
    return ENCODER.encode(
        {
            "object": "list",
            "data": [show(each) for each in shown],
            "first_id": name(shown[0]) if shown else None,
            "last_id": name(shown[-1]) if shown else None,
            "has_more": start + len(shown) < len(found),
        }
    )
