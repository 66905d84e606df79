"""One HTTP exchange of an SDK, answered by the engine: a path is an Operation, an error is a status.

Knows no HTTP library.  What an SDK must see as a broken connection is raised, as our own error, for the
transport to translate; all else is an answer, an error answer included.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from stanchion.core.call import PRIORITY_HEADER, Body, Call, Operation, json_call, read_priority
from stanchion.core.errors import (
    Cut,
    DeadlineExceeded,
    Refused,
    Silent,
    StanchionError,
    Unreachable,
    UpstreamError,
)
from stanchion.core.reply import Reply
from stanchion.engine.engine import Engine
from stanchion.policies.attempt_timeout import AttemptTimeoutOptions
from stanchion.rules.cache_control import HEADER, CacheAsked, read_cache_control
from stanchion.wire.errors import write_error

ROOT = "/v1/"
_BROKEN = (Unreachable, Silent, Cut, DeadlineExceeded)
_OPERATIONS = {each.value: each for each in Operation if each is not Operation.MODELS}
_PASSED = ("x-request-id", "openai-processing-ms", "openai-version", "openai-organization", "retry-after-ms")
# What the SDK's own HTTP says of itself; ours says it anew.  All else is the user's and is sent on.
_NOT_SENT_ON = frozenset(
    {
        "accept",
        "accept-encoding",
        "api-key",
        "authorization",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "user-agent",
    }
)
_encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True):
    """A request of the SDK."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    read_s: float | None  # the SDK's patience: seconds between two reads


class Answered(msgspec.Struct, frozen=True):
    """What to answer it with: a body, or a reply that is still to be read."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    reply: Reply | None = None


async def exchange(engine: Engine, asked: Asked) -> Answered:
    """Answer one request.  Raises Unreachable, Silent, Cut or DeadlineExceeded: a broken connection.

    Cancel: the call is ended at the provider.  Whoever gets an answer with a reply closes the reply.
    """
    _, _, path = asked.path.partition(ROOT)
    if asked.method == "GET" and path.partition("/")[0] == "models":
        return await _models(engine, path)
    operation = _OPERATIONS.get(path)
    if asked.method != "POST" or operation is None:
        return _unserved(asked)
    try:
        call = _call(engine, operation, asked)
        reply = await _begun(engine, call, asked.read_s)
    except _BROKEN:
        raise
    except StanchionError as error:
        return refused(error)
    headers = _headers(reply.head.headers, call.id)
    if reply.head.cache:
        headers["x-stanchion-cache"] = reply.head.cache
    if reply.head.similarity is not None:
        headers["x-stanchion-similarity"] = f"{reply.head.similarity:.4f}"
    if call.stream:
        return Answered(reply.head.status, {**headers, "content-type": "text/event-stream"}, reply=reply)
    async with reply:
        body = await reply.read_whole()
    return Answered(reply.head.status, {**headers, "content-type": "application/json"}, body)


async def stream_bytes(reply: Reply) -> AsyncGenerator[bytes, None]:
    """Hand on a streamed reply's bytes.  Raises Cut, Silent or DeadlineExceeded where it breaks."""
    try:
        async for chunk in reply:
            yield chunk.raw
    except Refused as error:
        # the provider said it in its stream, and so do we: an SDK raises it with the provider's code
        yield b"data: " + write_error(error) + b"\n\n"
    finally:
        await reply.aclose()


def refused(error: StanchionError) -> Answered:
    """Answer with an error: its status, OpenAI's JSON, and that asking again is done already."""
    said: Mapping[str, str] = error.headers if isinstance(error, UpstreamError) else {}
    headers = {**_headers(said, ""), "content-type": "application/json", "x-should-retry": "false"}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after_s * 1000))
    return Answered(error.status, headers, write_error(error))


def _call(engine: Engine, operation: Operation, asked: Asked) -> Call:
    known: dict[str, Any] = {"idempotency_key": asked.headers.get("idempotency-key")}
    sent_on = {
        name: value
        for name, value in asked.headers.items()
        if name not in _NOT_SENT_ON and name != PRIORITY_HEADER and not name.startswith("x-stainless-")
    }
    if sent_on:
        known["headers"] = sent_on
    if PRIORITY_HEADER in asked.headers:
        known["priority"] = read_priority(asked.headers[PRIORITY_HEADER])
    if HEADER in asked.headers:
        known["options"] = {CacheAsked: read_cache_control(asked.headers[HEADER])}
    call = json_call(operation, Body.read(asked.body), **known)
    if asked.read_s is None:
        return call
    if not call.stream:
        return call.having(deadline=asyncio.get_running_loop().time() + asked.read_s)
    patience = engine.settings.attempt_timeout
    stall_s = min(patience.stall_s, asked.read_s)
    options = msgspec.structs.replace(patience, stall_s=stall_s)
    return call.having(options={**call.options, AttemptTimeoutOptions: options})


async def _begun(engine: Engine, call: Call, read_s: float | None) -> Reply:
    """Wait for the reply; that of a stream only as long as the SDK would wait for its first byte."""
    if read_s is None or not call.stream:
        return await engine(call)
    try:
        async with asyncio.timeout(read_s):
            return await engine(call)
    except TimeoutError:
        raise DeadlineExceeded("the SDK's timeout passed before the stream began") from None


async def _models(engine: Engine, path: str) -> Answered:
    models = await engine.models()
    headers = {"content-type": "application/json"}
    _, _, wanted = path.partition("/")
    if not wanted:
        return Answered(200, headers, _encode({"object": "list", "data": models}))
    for model in models:
        if model["id"] == wanted:
            return Answered(200, headers, _encode(model))
    return _missing(f"The model {wanted!r} is not listed by any provider.", "model_not_found")


def _unserved(asked: Asked) -> Answered:
    served = ", ".join(f"POST {ROOT}{name}" for name in _OPERATIONS)
    return _missing(
        f"{asked.method} {asked.path} is not served by Stanchion. Served are {served} and GET {ROOT}models.",
        "unknown_path",
    )


def _missing(message: str, code: str) -> Answered:
    error = StanchionError(message, status=404, type="invalid_request_error", code=code)
    return refused(error)


def _headers(said: Mapping[str, str], call_id: str) -> dict[str, str]:
    """Pass on what the SDK's users read of the provider's headers."""
    headers = {"x-request-id": call_id} if call_id else dict[str, str]()
    for name, value in said.items():
        lower = name.lower()
        if lower in _PASSED or lower.startswith("x-ratelimit-"):
            headers[lower] = value
    return headers
