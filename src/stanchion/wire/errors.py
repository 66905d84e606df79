"""OpenAI error JSON <-> facts and errors.

The provider's words can repeat a key or the prompt: they are carried beside the error, never in its text.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stanchion.core.errors import StanchionError, UpstreamError

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class ErrorFacts(msgspec.Struct, frozen=True, gc=False):
    """What a provider's error body says."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None


def read_error(body: bytes) -> ErrorFacts:
    """Read an error body.  Whatever it is, facts come back: empty ones if it says nothing."""
    try:
        found: Any = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ErrorFacts()
    if isinstance(found, list) and found:  # Gemini's compatible endpoint wraps it in a list
        found = found[0]
    if not isinstance(found, dict):
        return ErrorFacts()
    return error_facts(found.get("error", found))


def error_facts(error: Any) -> ErrorFacts:
    """Read the `error` member: an object, or with some providers a string."""
    if isinstance(error, str):
        return ErrorFacts(message=error)
    if not isinstance(error, dict):
        return ErrorFacts()
    message = error.get("message") or error.get("detail") or error.get("msg") or ""
    return ErrorFacts(
        message=message if isinstance(message, str) else "",
        type=_word(error.get("type")),
        code=_word(error.get("code")),
        param=_word(error.get("param")),
    )


def _word(value: Any) -> str | None:
    if isinstance(value, bool) or value is None:
        return None
    return str(value)[:200] if isinstance(value, str | int) else None


def write_error(error: StanchionError) -> bytes:
    """Write an error as OpenAI's JSON.  The caller gets the provider's own words, if there are any."""
    message = str(error)
    if isinstance(error, UpstreamError) and error.said:
        message = error.said
    return _encode(
        {"error": {"message": message, "type": error.type, "param": error.param, "code": error.code}}
    )
