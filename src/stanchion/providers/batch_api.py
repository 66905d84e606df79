"""A provider's files and batches, with one key.  Asks once each time: who calls decides about trying again.

An upload is sent from a file that already is the multipart body, so that 200 MB never stand in memory; a download
is written to a file as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
from yarl import URL

from stanchion.core.call import Patience
from stanchion.core.clock import Clock
from stanchion.core.errors import Cut, Unusable, UpstreamError
from stanchion.core.reply import End
from stanchion.keys.slot import Lease
from stanchion.providers.http import HttpClient, prepared
from stanchion.providers.http_answer import HttpAnswer, Limits
from stanchion.providers.openai import EndpointSpec, key_header, refused
from stanchion.wire.batch import BatchObject, BatchPage, read_batch, read_file, read_page, write_create

_Read = TypeVar("_Read")
_QUICK = Patience(connect_s=10.0, first_token_s=60.0, stall_s=60.0, total_s=60.0)
_SLOW = Patience(connect_s=10.0, first_token_s=300.0, stall_s=60.0, total_s=3600.0)  # up to 200 MB
_LEAST_BYTES = 2 * 1024 * 1024  # of a download's pieces: a thread is asked less often


class BatchApi:
    """Files and batches of one account."""

    def __init__(self, spec: EndpointSpec, http: HttpClient, clock: Clock) -> None:
        self._spec = spec
        self._http = http
        self._clock = clock
        self.key = spec.key.name if spec.key is not None else ""  # its name; "" where none is needed

    async def upload(self, form: Path, boundary: str) -> str:
        """Upload a file that is a multipart body (`upload_form`); return its id there.

        Raises UpstreamError; NotYet while the key rests.  Cancel: the socket is closed.
        """
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        with form.open("rb") as body:
            return (await self._ask("POST", "files", read_file, body, kind, _SLOW)).id

    async def create(self, file_id: str, url: str, metadata: Mapping[str, str]) -> BatchObject:
        """Begin a batch over an uploaded file.  Raises as `upload`."""
        return await self._ask("POST", "batches", read_batch, write_create(file_id, url, metadata))

    async def get(self, name: str) -> BatchObject:
        """Look at a batch.  Raises as `upload`."""
        return await self._ask("GET", f"batches/{name}", read_batch)

    async def page(self, after: str = "") -> BatchPage:
        """List batches, the newest first.  Raises as `upload`."""
        return await self._ask("GET", f"batches?limit=100{f'&after={after}' if after else ''}", read_page)

    async def cancel(self, name: str) -> BatchObject:
        """End a batch; what it has done is kept.  Raises as `upload`."""
        return await self._ask("POST", f"batches/{name}/cancel", read_batch, b"{}")

    async def delete(self, file_id: str) -> None:
        """Remove a file.  Raises as `upload`."""
        await self._ask("DELETE", f"files/{file_id}", lambda _: None)

    async def download(self, file_id: str, to: BinaryIO) -> None:
        """Write a file's content.  Raises as `upload`: what was written before that is not the whole."""
        async with self._leased() as lease:
            limits = Limits(_SLOW, float("inf"), stream=True)
            answer = await self._http.open(
                "GET", self._url(f"files/{file_id}/content"), self._headers(lease), None, limits
            )
            if answer.status >= 300:
                raise await refused(answer, lease, stream=True)
            await _write(answer, to)

    async def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], _Read],
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        patience: Patience = _QUICK,
    ) -> _Read:
        async with self._leased() as lease:
            limits = Limits(patience, float("inf"), stream=False)
            sent = self._headers(lease, headers or {})
            answer = await self._http.open(method, self._url(path), sent, body, limits)
            if answer.status >= 300:
                raise await refused(answer, lease, stream=False)
            try:
                return read(answer.body)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise Unusable(
                    f"the provider's answer to {method} /{path.partition('?')[0]} is not of the Batch API"
                ) from error

    @asynccontextmanager
    async def _leased(self) -> AsyncGenerator[Lease | None]:
        """Hold the key for one request, and tell it how that went."""
        slot = self._spec.key
        if slot is None:
            yield None
            return
        lease, end = slot.lease(self._clock.now()), End.FAILED
        try:
            yield lease
            end = End.COMPLETED
        except UpstreamError as error:
            error.endpoint = self._spec.name
            slot.failed(lease, error, self._spec.model, self._clock.now())
            raise
        finally:
            slot.give_back(lease, end)

    def _headers(self, lease: Lease | None, more: Mapping[str, str] | None = None) -> Mapping[str, str]:
        key = key_header(self._spec.preset, lease.version.secret) if lease is not None else {}
        return prepared({**dict(self._spec.headers), **(more or {}), **key})

    def _url(self, path: str) -> URL:
        return URL(f"{self._spec.base_url}/{path}")


async def _write(answer: HttpAnswer, to: BinaryIO) -> None:
    """Write a body as it comes, in large pieces from a thread.  Raises Cut if it is shorter than was said."""
    parts, size, total = list[bytes](), 0, 0
    while True:
        piece = await answer.read()
        parts.append(piece)
        size += len(piece)
        if size >= _LEAST_BYTES or not piece:
            await asyncio.to_thread(to.write, b"".join(parts))
            total += size
            parts, size = [], 0
        if not piece:
            break
    answer.abort()
    said = answer.headers.get("content-length", "")
    if said.isdigit() and int(said) != total:
        raise Cut(f"the provider's file ended after {total} of {said} bytes", code="reset_in_answer")
