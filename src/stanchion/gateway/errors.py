"""Error -> HTTP: one table.  The provider's own code, type, param and words pass through to the caller.

Every error that leaves here is final: what could be tried again was tried.  `x-should-retry: false` says
so to the SDK, which would otherwise try each of our failures three times over.  Not of what comes right by waiting.
"""

from __future__ import annotations

import math

import msgspec

from stanchion.core.call import Operation
from stanchion.core.errors import LimitReached, StanchionError, Unavailable, UpstreamError
from stanchion.wire.errors import write_error
from stanchion.wire.sse import write

Header = tuple[bytes, bytes]
_WORTH_WAITING_S = 60.0
_JSON = (b"content-type", b"application/json")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class StreamAborted(Exception):
    """Raised out of the application so that the server breaks the connection off without a proper end."""


def internal_error() -> StanchionError:
    """Make what the caller sees of a fault of ours: nothing of its inside."""
    return StanchionError("the gateway failed; its log says why", code="internal_error")


def error_response(error: StanchionError) -> tuple[int, list[Header], bytes]:
    """Return status, headers and body."""
    headers: list[Header] = [_JSON]
    if not (isinstance(error, Unavailable) or _soon(error)):
        headers.append((b"x-should-retry", b"false"))
    headers.extend(_retry_after(error))
    status = error.status if 400 <= error.status <= 599 else 502
    return status, headers, write_error(error)


def error_events(error: StanchionError, operation: Operation) -> bytes:
    """Write the error as the last event of a stream."""
    body = write_error(error)
    if operation is not Operation.RESPONSES:
        return write(body)
    # the Responses API's event has the fields at the top; `error` beside them makes the SDK raise
    inner = _decode(body)["error"]
    return write(
        _encode({"type": "error", **{k: v for k, v in inner.items() if k != "type"}, "error": inner}),
        name="error",
    )


def _soon(error: StanchionError) -> bool:
    """Say whether a caller that met its limit should wait for room: the SDK waits a minute at most."""
    return isinstance(error, LimitReached) and 0 < (error.retry_after_s or 0) <= _WORTH_WAITING_S


def _retry_after(error: StanchionError) -> list[Header]:
    seconds = error.retry_after_s
    if seconds is None or not math.isfinite(seconds):
        return []
    whole = max(1, math.ceil(seconds))
    return [
        (b"retry-after", b"%d" % whole),
        (b"retry-after-ms", b"%d" % math.ceil(seconds * 1000)),
    ]


def upstream_headers_of(error: StanchionError) -> dict[str, str]:
    """Return the provider's headers an error came with."""
    return dict(error.headers) if isinstance(error, UpstreamError) else {}
