"""The headers of an answer: the provider's that clients rely on, and ours under one prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from stanchion.core.call import Call
from stanchion.core.reply import Head

Header = tuple[bytes, bytes]
_PASSED = [
    (name, name.encode())
    for name in (
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
] + [("x-request-id", b"x-stanchion-upstream-request-id")]
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx: do not collect the events
]
_SIMULATED = ((b"x-stanchion-provider", b"simulator"),)
_WHOLE = [(b"content-type", b"application/json")]
_ONE_ATTEMPT = (b"x-stanchion-attempts", b"1")


class ResponseHeaders:
    """Makes the headers of answers; `simulated` says on each that no real provider stands behind."""

    def __init__(self, simulated: Callable[[], bool]) -> None:
        self._simulated = simulated  # asked each time: a reload can change it

    @property
    def _provider(self) -> Sequence[Header]:
        return _SIMULATED if self._simulated() else ()

    def of_reply(self, call: Call, head: Head, *, stream: bool, elapsed_ms: int) -> list[Header]:
        """Return the headers of an answer."""
        upstream, attempts = head.headers, call.trail.attempts
        headers = [
            *(_STREAM if stream else _WHOLE),
            (b"x-request-id", call.id.encode()),
            (b"x-stanchion-model", _name(head.model)),
            (b"x-stanchion-endpoint", _name(head.endpoint)),
            _ONE_ATTEMPT if len(attempts) < 2 else (b"x-stanchion-attempts", b"%d" % len(attempts)),
            *self._provider,
        ]
        _pass_on(upstream, headers)
        if "openai-processing-ms" not in upstream:
            headers.append((b"openai-processing-ms", b"%d" % elapsed_ms))
        if head.cache:
            headers.append((b"x-stanchion-cache", head.cache.encode()))
        if head.similarity is not None:
            headers.append((b"x-stanchion-similarity", b"%.4f" % head.similarity))
        return headers

    def of_error(self, request_id: str, upstream: Mapping[str, str]) -> list[Header]:
        """Return the headers of a refusal."""
        headers = [(b"x-request-id", request_id.encode()), *self._provider]
        _pass_on(upstream, headers)
        return headers

    def of_waiting_stream(self, call: Call) -> list[Header]:
        """Return the headers of a stream that begins with a heartbeat, before anything is known."""
        return [*_STREAM, (b"x-request-id", call.id.encode()), *self._provider]


def _pass_on(upstream: Mapping[str, str], headers: list[Header]) -> None:
    """Add those of the provider's headers that clients rely on."""
    if not upstream:
        return
    get = upstream.get
    for name, raw_name in _PASSED:
        value = get(name)
        if value is not None:
            plain = value.isascii() and value.isprintable()
            headers.append((raw_name, value.encode() if plain else _ascii(value)))


def _ascii(text: str) -> bytes:
    """Return what may stand in a header: names of models can be in any language."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return text.encode("ascii", "backslashreplace").translate(None, bytes(range(32)) + b"\x7f")


_name = lru_cache(maxsize=1000)(_ascii)  # of models and endpoints, which are few
