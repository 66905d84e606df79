"""Read an HTTP request into a Call, and refuse early what is too large, too slow, or no JSON."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from stanchion.core.call import PRIORITY_HEADER, Body, Call, Operation, Priority, json_call, read_priority
from stanchion.core.errors import CallerError, InvalidCall
from stanchion.engine.settings import GatewayOptions
from stanchion.rules.cache_control import CacheAsked, read_cache_control

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
_PEPPER = os.urandom(16)  # of this process: its fingerprints mean nothing elsewhere
_VISIBLE = re.compile(rb"[\x20-\x7e]{1,1024}")
_PRIORITY = PRIORITY_HEADER.encode()
_FORWARDED = {b"openai-beta": "OpenAI-Beta", b"traceparent": "traceparent", b"tracestate": "tracestate"}


class ClientLeft(Exception):
    """The client went away before its request was complete."""


class Sender(Protocol):
    """Who sends a request, and may be slow."""

    late: bool  # it was too slow, and the task that reads was cancelled for it

    def within(self, seconds: float) -> None:
        """Cancel the task that reads, if it still waits in so many seconds."""
        ...

    def forgive(self) -> None:
        """Take the cancellation back: it was noticed."""
        ...


async def read_body(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    options: GatewayOptions,
    sender: Sender,
    *,
    keep: bool = True,
) -> bytes:
    """Read the request body.  Raises InvalidCall (413, 415, 408) or ClientLeft.

    Without `keep` it is thrown away: a client that is refused while it still sends sees a broken connection
    instead of the refusal (measured: with the openai SDK from 5 MB on, each time).
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise InvalidCall("a compressed request body is not accepted: send it plain", status=415)
    length = headers.get(b"content-length", b"0")
    most = options.body_most_bytes
    if not length.isdigit() or int(length) > most:
        raise _too_long(most)
    size = 0
    parts: list[bytes] = []
    try:
        while True:
            sender.within(options.body_wait_s)
            message = await receive()
            if message["type"] != "http.request":
                raise ClientLeft
            piece = message.get("body", b"")
            size += len(piece)
            if keep or not parts:
                parts.append(piece)
            if size > most:
                raise _too_long(most)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)
    except asyncio.CancelledError:
        if not sender.late:
            raise
        sender.forgive()
        raise InvalidCall(
            f"the request body did not come within {options.body_wait_s:g} s", status=408, code="body_timeout"
        ) from None


def read_call(
    operation: Operation,
    raw: bytes,
    headers: Mapping[bytes, bytes],
    now: float,
    *,
    peer: str = "",
    pepper: bytes = _PEPPER,
) -> Call:
    """Make the Call; `peer` is the client's address, `pepper` goes into a caller's fingerprint.  Raises InvalidCall."""
    body = Body.read(raw)
    key = _idempotency_key(headers)
    call = json_call(
        operation,
        body,
        caller=_caller(headers.get(b"authorization", b""), peer if key is None else "", pepper),
        priority=_priority(headers),
        idempotency_key=key,
        headers=_forwarded(headers),
        options=_cache_control(headers),
    )
    deadline = _deadline(headers, call, now)
    return call if math.isinf(deadline) else call.having(deadline=deadline)


def last_event_id(headers: Mapping[bytes, bytes]) -> int:
    """Return how many events the client has of a stream that it takes up again.  Raises InvalidCall."""
    value = headers.get(b"last-event-id", b"")
    if not value:
        return 0
    if not value.isdigit() or len(value) > 9:
        raise InvalidCall("Last-Event-ID must be the number of an event", param="Last-Event-ID")
    return int(value)


def _too_long(most: int) -> CallerError:
    return InvalidCall(f"the request body is longer than {most} bytes", status=413, code="body_too_long")


def _caller(authorization: bytes, peer: str, pepper: bytes) -> str:
    """Tell callers apart by what they authorize themselves with, else by their address.

    It is hashed anew each time, 1.3 us: a table would hold keys.  Of an IPv6 address the first half counts:
    the other half is the client's to choose.  A call with an idempotency key counts by no address: its retry
    may come another way.
    """
    known = authorization or (":".join(peer.split(":")[:4]) if ":" in peer else peer).encode()
    return hashlib.blake2b(known, digest_size=8, key=pepper).hexdigest() if known else ""


def _priority(headers: Mapping[bytes, bytes]) -> Priority:
    value = headers.get(_PRIORITY)
    return "interactive" if value is None else read_priority(value.decode("latin-1"))


def _idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    value = headers.get(b"idempotency-key")
    if value is None:
        return None
    if not _VISIBLE.fullmatch(value) or len(value) > 255:
        raise InvalidCall("Idempotency-Key must be 1 to 255 visible characters", param="Idempotency-Key")
    return value.decode("ascii")


def _cache_control(headers: Mapping[bytes, bytes]) -> dict[type[Any], Any]:
    value = headers.get(b"cache-control")
    return {} if value is None else {CacheAsked: read_cache_control(value.decode("latin-1"))}


def _forwarded(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the few headers that go on to the provider.  Credentials and cookies never do."""
    found: dict[str, str] = {}
    for name, shown in _FORWARDED.items():
        value = headers.get(name)
        if value is not None and _VISIBLE.fullmatch(value):
            found[shown] = value.decode("ascii")
    return found


def _deadline(headers: Mapping[bytes, bytes], call: Call, now: float) -> float:
    """Return how long the client will wait, as far as it says so.

    `x-stanchion-deadline-s` says it.  `x-stainless-read-timeout` is the SDK's patience for silence: a
    whole answer must come within it; a stream is kept alive by heartbeats.
    """
    told = _seconds(headers.get(b"x-stanchion-deadline-s"))
    if told is None and not call.stream:
        told = _seconds(headers.get(b"x-stainless-read-timeout"))
    return math.inf if told is None else now + told


def _seconds(value: bytes | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 < seconds < 1e6 else None
