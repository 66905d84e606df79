"""OpenAI error JSON <-> facts and errors.

The provider's words can repeat a key or the prompt: they are carried beside the error, never in its text.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from stanchion.core.errors import StanchionError, UpstreamError
from stanchion.wire.objects import as_list, as_object

_NAME = re.compile(r"[\w.:/-]{1,200}")
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
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ErrorFacts()
    wrapped = as_list(found)  # Gemini's compatible endpoint wraps it in a list
    fields = as_object(wrapped[0] if wrapped else found)
    return error_facts(fields.get("error", fields)) if fields is not None else ErrorFacts()


def error_facts(error: Any) -> ErrorFacts:
    """Read the `error` member: an object, or with some providers a string."""
    if isinstance(error, str):
        return ErrorFacts(message=error)
    fields = as_object(error)
    if fields is None:
        return ErrorFacts()
    message = fields.get("message") or fields.get("detail") or fields.get("msg") or ""
    return ErrorFacts(
        message=message if isinstance(message, str) else "",
        type=_name(fields.get("type")),
        code=_name(fields.get("code")),
        param=_word(fields.get("param")),
    )


def _name(value: Any) -> str | None:
    """Return a code as one; a sentence in its place is no code: codes are logged, sentences are not."""
    word = _word(value)
    return word if word is not None and _NAME.fullmatch(word) else None


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
