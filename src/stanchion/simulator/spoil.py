"""What a fault does to a reply's bytes: pure, no transport.

A stream is an iterator of SSE events; a spoilt one may end with an `Ending` that tells the sender how to leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stanchion.simulator.errors import CODES, ApiError, code_error, error_body, status_error
from stanchion.simulator.faults import End, Fault

DONE = b"data: [DONE]\n\n"
HTML = (
    b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>"
    b"<body><center><h1>502 Bad Gateway</h1></center><hr><center>cloudflare</center></body></html>\n"
)
SERVER_ERROR = error_body("The server had an error while processing your request.", type="server_error")

TYPED_ERROR = (
    b'event: error\ndata: {"type":"error","code":"server_error","param":null,"sequence_number":0,'
    b'"message":"The server had an error while processing your request."}\n\n'
)


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a spoilt stream: `part` of an event of `size` bytes, then how the transport is left.

    `how` None holds the connection open and silent.
    """

    how: End | None
    part: bytes = b""
    size: int = 0


@dataclass(frozen=True, slots=True)
class SpoiltBody:
    """A whole body after a fault: what is sent, what Content-Length claims, and how it ends."""

    body: bytes
    length: int
    how: End | None = "clean"
    content_type: str = "application/json"


def refusal(fault: Fault, model: str, authorization: str) -> ApiError | None:
    """The HTTP error a fault stands for, or None if it spoils a reply instead."""
    headers: list[tuple[str, str]] = []
    if fault.retry_after is not None:
        headers.append(("retry-after", f"{fault.retry_after:g}"))
    if fault.retry_after_ms is not None:
        headers.append(("retry-after-ms", f"{fault.retry_after_ms:g}"))
    if fault.name == "status":
        return status_error(fault.status, headers=tuple(headers))
    if fault.name == "echo_key":
        return ApiError(401, f"Incorrect API key provided: {authorization}.", code="invalid_api_key")
    if fault.name not in CODES:
        return None
    return code_error(fault.name, model, headers=tuple(headers))


def spoil_body(body: bytes, fault: Fault) -> SpoiltBody:
    """A whole reply under a fault; a fault that only streams can show leaves it as it is."""
    name = fault.name
    if name in ("error_body", "error_event"):
        return _complete(SERVER_ERROR)
    if name == "html":
        return SpoiltBody(HTML, len(HTML), content_type="text/html; charset=utf-8")
    if name == "empty":
        return _complete(b"")
    if name == "content_type":
        return SpoiltBody(body, len(body), content_type="text/plain; charset=utf-8")
    if name == "malformed":
        return _complete(body[: len(body) // 2] + b"\x00<<<not json")
    if name in ("cut", "cut_bytes"):
        kept = body[: fault.after] if name == "cut_bytes" else body[: len(body) // 2]
        return SpoiltBody(kept, len(kept) if fault.end == "clean" else len(body), fault.end)
    if name == "stall":
        half = len(body) // 2 if fault.after else 0
        return SpoiltBody(body[:half], len(body), None)
    return _complete(body)


def spoil_events(events: Iterator[bytes], fault: Fault) -> Iterator[bytes | Ending]:
    """A stream under a fault."""
    if fault.name == "cut_bytes":
        return _cut_bytes(events, fault.after, fault.end)
    if fault.name in ("cut", "stall", "malformed", "error_event"):
        return _after_events(events, fault)
    if fault.name == "no_done":
        return (event for event in events if event != DONE)
    return iter(events)


def _after_events(events: Iterator[bytes], fault: Fault) -> Iterator[bytes | Ending]:
    for sent, event in enumerate(events):
        if event == DONE and fault.name != "malformed":
            break
        if sent == fault.after:
            if fault.name != "malformed":
                yield from _ends(event, fault)
                return
            yield event[: len(event) // 2] + b"\x00<<<not json\n\n"
            continue
        yield event
    if fault.name != "malformed":
        yield from _ends(DONE, fault)


def _ends(event: bytes, fault: Fault) -> Iterator[bytes | Ending]:
    """The end in place of `event`."""
    if fault.name == "error_event":
        typed = event.startswith(b"event: ")  # the Responses API names its events
        yield TYPED_ERROR if typed else b"data: " + SERVER_ERROR + b"\n\n"
        yield Ending("clean")
    elif fault.name == "stall":
        yield Ending(None)
    elif fault.end == "clean":
        yield Ending("clean")
    else:
        yield Ending(fault.end, event[: len(event) // 2], len(event))


def _cut_bytes(events: Iterator[bytes], left: int, end: End) -> Iterator[bytes | Ending]:
    for event in events:
        if len(event) > left:
            yield Ending(end, event[:left], len(event))
            return
        yield event
        left -= len(event)


def _complete(body: bytes) -> SpoiltBody:
    return SpoiltBody(body, len(body))
