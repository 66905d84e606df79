"""The headers of an answer: the provider's that clients rely on, and ours under one prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stanchion.core.call import Call
from stanchion.core.reply import Head

Header = tuple[bytes, bytes]
_PASSED = (
    "openai-processing-ms",
    "openai-version",
    "openai-organization",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)
_PASSED_BYTES = tuple((name, name.encode()) for name in _PASSED)
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx: do not collect the events
]
_SIMULATED = ((b"x-stanchion-provider", b"simulator"),)
_WHOLE = (b"content-type", b"application/json")


class ResponseHeaders:
    """Makes the headers of answers; `simulated` says on each that no real provider stands behind."""

    def __init__(self, simulated: Callable[[], bool]) -> None:
        self._simulated = simulated  # asked each time: a reload can change it

    @property
    def _provider(self) -> Sequence[Header]:
        return _SIMULATED if self._simulated() else ()

    def of_reply(self, call: Call, head: Head, *, stream: bool, elapsed_ms: int) -> list[Header]:
        """Return the headers of an answer."""
        headers = [*(_STREAM if stream else (_WHOLE,)), (b"x-request-id", call.id.encode()), *self._provider]
        passed = passed_on(head.headers)
        headers.extend(passed)
        if "openai-processing-ms" not in head.headers:
            headers.append((b"openai-processing-ms", b"%d" % elapsed_ms))
        headers.append((b"x-stanchion-model", _ascii(head.model)))
        headers.append((b"x-stanchion-endpoint", _ascii(head.endpoint)))
        if head.cache:
            headers.append((b"x-stanchion-cache", head.cache.encode()))
        headers.append((b"x-stanchion-attempts", b"%d" % max(1, len(call.trail.attempts))))
        return headers

    def of_error(self, request_id: str, upstream: Mapping[str, str]) -> list[Header]:
        """Return the headers of a refusal."""
        return [(b"x-request-id", request_id.encode()), *self._provider, *passed_on(upstream)]

    def of_waiting_stream(self, call: Call) -> list[Header]:
        """Return the headers of a stream that begins with a heartbeat, before anything is known."""
        return [*_STREAM, (b"x-request-id", call.id.encode()), *self._provider]


def passed_on(upstream: Mapping[str, str]) -> list[Header]:
    """Return those of the provider's headers that clients rely on."""
    found = list[Header]()
    if not upstream:
        return found
    for name, raw_name in _PASSED_BYTES:
        value = upstream.get(name)
        if value is not None:
            found.append((raw_name, _ascii(value)))
    request_id = upstream.get("x-request-id")
    if request_id is not None:
        found.append((b"x-stanchion-upstream-request-id", _ascii(request_id)))
    return found


def _ascii(text: str) -> bytes:
    """Return what may stand in a header: names of models can be in any language."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return text.encode("ascii", "backslashreplace").translate(None, bytes(range(32)) + b"\x7f")
