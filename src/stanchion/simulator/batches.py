"""/v1/batches and /v1/files: which request means what.

Faults of single calls are those of `faults.py` with the operation as their model: `503,model=batches.get`,
`cut_bytes:900,end=abort,model=files.content`.  Two more are possible here alone: `lost`, after which the call has
done its work and the connection is reset before the answer; nothing else of the plan strikes these paths.
"""

from __future__ import annotations

import asyncio
import secrets
import time

import msgspec

from stanchion.simulator import files
from stanchion.simulator.answer import ENCODER
from stanchion.simulator.attempt import ENDPOINTS
from stanchion.simulator.batch_object import ENDED, Batch
from stanchion.simulator.batch_run import BatchRun
from stanchion.simulator.errors import ApiError
from stanchion.simulator.exchange import Exchange
from stanchion.simulator.faults import Fault
from stanchion.simulator.log import CallRecord
from stanchion.simulator.sender import WholeSender
from stanchion.simulator.spoil import refusal, spoil_body
from stanchion.simulator.state import State

_DONE = {"lost"}  # faults that strike after the work


class _Asked(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


_ASKED = msgspec.json.Decoder(_Asked)


class Batches:
    """All batches and files of the simulator, and the way in to them."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._batches: dict[str, Batch] = {}
        self._runs: dict[str, BatchRun] = {}

    def all(self) -> list[Batch]:
        """Every batch, the oldest first."""
        return list(self._batches.values())

    def aclose(self) -> None:
        """Move no batch any further."""
        for run in self._runs.values():
            run.stop()

    def serve(self, exchange: Exchange, record: CallRecord, began: float) -> None:
        """Answer a request whose path is /v1/files or /v1/batches or below.  Raises ApiError."""
        method, parts = exchange.request.method, exchange.request.path.removeprefix("/v1/").split("/")
        operation = record.model = _operation(method, parts)
        fault = self._state.faults.next_named(operation, asyncio.get_running_loop().time())
        if fault is not None:
            record.fault = fault.label()
            if fault.name == "reset":
                exchange.reset()
                return
            if fault.name == "silence":
                return  # the connection stays open until the client leaves
            error = refusal(fault, operation, exchange.request.header("authorization"))
            if error is not None:
                raise error
        owner = self._owner(record)
        body, kind = self._answer(operation, parts, exchange, owner, record)
        if fault is not None and fault.name in _DONE:
            exchange.reset()
            return
        headers = self._state.headers(record, began)
        if fault is not None and fault.name == "slow":
            exchange.sender = WholeSender(
                fault.seconds, lambda: self._send(exchange, record, headers, body, kind, None)
            )
            return
        self._send(exchange, record, headers, body, kind, fault)

    def _answer(
        self, operation: str, parts: list[str], exchange: Exchange, owner: str, record: CallRecord
    ) -> tuple[bytes, str]:
        state, request = self._state, exchange.request
        kind = "application/json"
        match operation:
            case "files.create":
                body = files.upload(state.files, owner, request.header("content-type"), request.body)
            case "files.list":
                body = files.listing(state.files, owner, request.query)
            case "files.get":
                body = ENCODER.encode(state.files.get(parts[1], owner).shown())
            case "files.content":
                body, kind = state.files.get(parts[1], owner).content, "application/octet-stream"
            case "files.delete":
                state.files.delete(parts[1], owner)
                body = ENCODER.encode({"id": parts[1], "object": "file", "deleted": True})
            case "batches.create":
                body = ENCODER.encode(self._create(request.body, owner, record).shown())
            case "batches.list":
                body = self._list(owner, request.query)
            case "batches.cancel":
                batch = self._get(parts[1], owner)
                self._runs[batch.id].cancel()
                body = ENCODER.encode(batch.shown())
            case _:
                body = ENCODER.encode(self._get(parts[1], owner).shown())
        return body, kind

    def _send(
        self,
        exchange: Exchange,
        record: CallRecord,
        headers: list[tuple[str, str]],
        body: bytes,
        kind: str,
        fault: Fault | None,
    ) -> None:
        if fault is None:
            record.completed = True
            exchange.whole(200, headers, body, content_type=kind)
            return
        spoilt = spoil_body(body, fault)
        exchange.opening(200, headers, spoilt.body, length=spoilt.length, content_type=kind)
        if spoilt.how == "clean":
            exchange.end()
        elif spoilt.how is not None:
            exchange.leave(spoilt.how)

    def _create(self, body: bytes, owner: str, record: CallRecord) -> Batch:
        try:
            asked = _ASKED.decode(body)
        except msgspec.MsgspecError as error:
            raise ApiError(400, f"Invalid request: {error}.") from error
        if asked.completion_window != "24h":
            raise ApiError(
                400,
                f"Invalid value: '{asked.completion_window}'. Value must be '24h'.",
                param="completion_window",
                code="invalid_value",
            )
        endpoint = ENDPOINTS.get(asked.endpoint)
        if endpoint is None:
            known = ", ".join(f"'{path}'" for path in ENDPOINTS)
            raise ApiError(
                400,
                f"Invalid value: '{asked.endpoint}'. Supported values are: {known}.",
                param="endpoint",
                code="invalid_value",
            )
        _check_metadata(asked.metadata)
        file = self._state.files.get(asked.input_file_id, owner)
        if file.purpose != "batch":
            raise ApiError(
                400, f"Invalid file purpose: {file.purpose!r} is not 'batch'.", param="input_file_id"
            )
        now = int(time.time())
        batch = Batch(
            id=f"batch_{secrets.token_hex(12)}",
            owner=owner,
            endpoint=asked.endpoint,
            input_file=file,
            metadata=asked.metadata,
            created_at=now,
            expires_at=now + int(self._state.options.batches.window_s),
            fault=self._state.batch_faults.take(),
        )
        self._batches[batch.id] = batch
        self._runs[batch.id] = BatchRun(
            self._state, batch, endpoint, record.key_fingerprint, self._tokens_waiting
        )
        return batch

    def _tokens_waiting(self, batch: Batch) -> int:
        """Prompt tokens of the same model in the owner's other batches that have not ended."""
        return sum(
            other.checked.tokens
            for other in self._batches.values()
            if other is not batch
            and other.owner == batch.owner
            and other.checked.model == batch.checked.model
            and other.status not in ENDED
        )

    def _list(self, owner: str, query: str) -> bytes:
        found = [batch for batch in reversed(self._batches.values()) if batch.owner == owner]
        return files.page(found, query, Batch.shown, lambda batch: batch.id, usual=20, most=100)

    def _get(self, name: str, owner: str) -> Batch:
        batch = self._batches.get(name)
        if batch is None or batch.owner != owner:
            raise ApiError(404, f"No batch found with id '{name}'.", param="batch_id")
        return batch

    def _owner(self, record: CallRecord) -> str:
        plan = self._state.keys.of(record.key_fingerprint)
        return (plan.organization if plan is not None else "") or self._state.options.organization


def _operation(method: str, parts: list[str]) -> str:
    """The name of what is asked.  Raises ApiError 404 or 405."""
    known = {
        ("files", 1): {"POST": "files.create", "GET": "files.list"},
        ("files", 2): {"GET": "files.get", "DELETE": "files.delete"},
        ("files", 3): {"GET": "files.content"} if parts[-1] == "content" else {},
        ("batches", 1): {"POST": "batches.create", "GET": "batches.list"},
        ("batches", 2): {"GET": "batches.get"},
        ("batches", 3): {"POST": "batches.cancel"} if parts[-1] == "cancel" else {},
    }.get((parts[0], len(parts)))
    path = "/v1/" + "/".join(parts)
    if not known or not all(parts):
        raise ApiError(404, f"Invalid URL ({method} {path})")
    operation = known.get(method)
    if operation is None:
        allowed = ", ".join(known)
        raise ApiError(
            405, f"Not allowed to {method} on {path}. Use {allowed}.", headers=(("allow", allowed),)
        )
    return operation


def _check_metadata(metadata: dict[str, str] | None) -> None:
    for name, value in (metadata or {}).items():
        if len(name) > 64 or len(value) > 512:
            raise ApiError(400, f"Invalid 'metadata': {name[:64]!r} is too long.", param="metadata")
    if len(metadata or {}) > 16:
        raise ApiError(400, "Invalid 'metadata': more than 16 pairs.", param="metadata")
