"""/v1/files and /v1/batches: requests in, OpenAI's objects out.  An ASGI application without a framework.

Uploads go to the disk as they come, downloads leave it piece by piece.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs

import msgspec

from stanchion.batch.api.admission import Admission, Doorkeeper
from stanchion.batch.api.body import ClientLeft, Receive, RequestBody
from stanchion.batch.api.files import FileStore, StoredFile
from stanchion.batch.api.jobs import BatchJobs
from stanchion.batch.api.sending import Send, answer, page, refuse, send_file
from stanchion.batch.api.state import BatchState
from stanchion.batch.api.upload import Upload
from stanchion.core.call import Operation
from stanchion.core.errors import InvalidCall, LimitReached, StanchionError, Unavailable
from stanchion.engine.engine import Engine
from stanchion.observe.logs import log_event

log = logging.getLogger(__name__)
Scope = Mapping[str, Any]
_PIECE = 256 * 1024  # bytes read or written at once
_ENDPOINTS = {f"/v1/{each.path}": each for each in Operation if each is not Operation.MODELS}


class _Create(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


class BatchFace:
    """The application.  `begin` before the first request, `aclose` after the last."""

    paths = ("/v1/files", "/v1/batches")

    def __init__(self, engine: Engine, door: Doorkeeper, folder: Path) -> None:
        """`folder` is where files and batches are kept."""
        self._engine = engine
        self._door = door
        options = engine.settings.batches
        self._files = FileStore(
            folder / "files", caller_most_bytes=options.caller_most_bytes, keep_days=options.keep_days
        )
        self._folder = folder
        self._broken = ""  # why nothing can be kept
        self._jobs = BatchJobs(engine, door, folder / "jobs", self._files, options)

    async def begin(self) -> None:
        """Go on with what an earlier process began.  Where the disk does not let it, requests are refused."""
        try:
            await asyncio.to_thread(self._files.open)
            await self._jobs.begin()
        except OSError as error:
            self._broken = type(error).__name__
            log_event(
                log,
                logging.WARNING,
                "batches.not_kept",
                directory=str(self._folder),
                why=self._broken,
                then="/v1/files and /v1/batches answer 503; set stores.directory, or batches.serve=false",
            )

    async def aclose(self) -> None:
        """Leave what has not ended to the next process."""
        await self._jobs.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = RequestBody(receive, self._engine.clock, self._engine.settings.gateway.body_wait_s)
        try:
            try:
                if self._broken:
                    raise Unavailable("files and batches cannot be kept here now", code="batches_not_kept")
                await self._serve(scope, body, send)
            except StanchionError as error:
                if scope["method"] == "POST":
                    await body.drain()
                await refuse(send, error)
        except ClientLeft:
            return
        except InvalidCall as error:
            await refuse(send, error)
        except OSError as error:
            log.exception("batches.disk_failed")
            said = StanchionError(f"the disk failed ({type(error).__name__})", status=507, code="disk_failed")
            await refuse(send, said)

    async def _serve(self, scope: Scope, body: RequestBody, send: Send) -> None:
        method, parts = scope["method"], scope["path"].removeprefix("/v1/").split("/")
        headers = dict(scope["headers"])
        client = scope.get("client")
        admitted = self._door.admit(headers, client[0] if client else "", Operation.MODELS)
        query = parse_qs(bytes(scope.get("query_string", b"")).decode("latin-1"))
        match (method, *parts):
            case ("POST", "files"):
                await answer(send, (await self._upload(admitted, headers, body)).shown())
            case ("GET", "files"):
                await answer(send, self._listed_files(admitted.owner, query))
            case ("GET", "files", name):
                await answer(send, self._files.get(name, admitted.owner).shown())
            case ("GET", "files", name, "content"):
                await send_file(send, self._files.path(self._files.get(name, admitted.owner).id))
            case ("DELETE", "files", name):
                await answer(send, self._delete(name, admitted.owner))
            case ("POST", "batches"):
                state = await self._create(admitted, headers, client[0] if client else "", body)
                await answer(send, state.shown())
            case ("GET", "batches"):
                await answer(send, page(self._jobs.of(admitted.owner), query, usual=20, most=100))
            case ("GET", "batches", name):
                await answer(send, self._jobs.get(name, admitted.owner).shown())
            case ("POST", "batches", name, "cancel"):
                await answer(send, self._jobs.cancel(name, admitted.owner).shown())
            case _:
                raise InvalidCall(
                    f"there is no {method} {scope['path']} here", status=404, code="unknown_path"
                )

    async def _upload(
        self, admitted: Admission, headers: Mapping[bytes, bytes], body: RequestBody
    ) -> StoredFile:
        most = min(self._engine.settings.batches.file_most_bytes, self._files.room(admitted.owner))
        length = headers.get(b"content-length", b"")
        upload = Upload(headers.get(b"content-type", b""))
        if length.isdigit() and int(length) > most + _PIECE:
            raise _too_large(most)
        name, path = self._files.new_path()
        file = await asyncio.to_thread(path.open, "wb")
        try:
            with file:
                await _receive_into(upload, file, body, most)
            purpose = upload.fields.get("purpose", "")
            if not upload.ended or not upload.filename:
                raise InvalidCall("the body has no file, or is not complete", code="no_file", param="file")
            if purpose not in ("batch", "user_data"):
                raise InvalidCall(
                    "purpose must be 'batch': files are kept for batches alone", param="purpose"
                )
            return await asyncio.to_thread(
                lambda: self._files.add(name, owner=admitted.owner, filename=upload.filename, purpose=purpose)
            )
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    async def _create(
        self, admitted: Admission, headers: Mapping[bytes, bytes], peer: str, body: RequestBody
    ) -> BatchState:
        try:
            asked = msgspec.json.decode(await body.small(), type=_Create)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidCall(f"this creates no batch: {error}", code="invalid_json") from None
        operation = _ENDPOINTS.get(asked.endpoint)
        if operation is None:
            known = ", ".join(_ENDPOINTS)
            raise InvalidCall(f"endpoint must be one of {known}", param="endpoint", code="invalid_value")
        if asked.completion_window != "24h":
            raise InvalidCall("completion_window must be '24h'", param="completion_window")
        _check_metadata(asked.metadata)
        admitted = self._door.admit(headers, peer, operation)  # the key may be for some operations alone
        file = self._files.get(asked.input_file_id, admitted.owner, param="input_file_id")
        if file.purpose != "batch":
            raise InvalidCall("the file's purpose is not 'batch'", param="input_file_id")
        return self._jobs.create(admitted, file, operation, asked.metadata)

    def _listed_files(self, owner: str, query: Mapping[str, list[str]]) -> dict[str, object]:
        files = list(self._files.of(owner))
        purpose = query.get("purpose", [""])[0]
        if purpose:
            files = [file for file in files if file.purpose == purpose]
        if query.get("order", ["desc"])[0] == "asc":
            files.reverse()
        return page(files, query, usual=1000, most=10_000)

    def _delete(self, name: str, owner: str) -> dict[str, object]:
        file = self._files.get(name, owner)
        if self._jobs.uses(file.id):
            raise InvalidCall("a batch reads this file: cancel it first", status=409, code="file_in_use")
        self._files.delete(file.id)
        return {"id": file.id, "object": "file", "deleted": True}


async def _receive_into(upload: Upload, file: BinaryIO, body: RequestBody, most: int) -> None:
    """Write a file as it comes.  Raises InvalidCall, LimitReached."""
    size, waiting = 0, bytearray()
    while body.more:
        upload.feed(await body.piece())
        waiting += upload.take()
        if size + len(waiting) > most:
            raise _too_large(most)
        if len(waiting) >= _PIECE or not body.more:
            size += len(waiting)
            await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()


def _check_metadata(metadata: dict[str, str] | None) -> None:
    pairs = metadata or {}
    if len(pairs) > 16 or any(len(name) > 64 or len(value) > 512 for name, value in pairs.items()):
        raise InvalidCall(
            "metadata has at most 16 pairs, names of 64 and values of 512 characters", param="metadata"
        )


def _too_large(most: int) -> StanchionError:
    if most <= 0:
        return LimitReached("you keep as many bytes as there may be: delete files", code="files_full")
    return InvalidCall(f"the file is larger than the {most} bytes there is room for", status=413)
