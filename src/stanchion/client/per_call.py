"""What one call says over the configuration, and the small things around a call's body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from stanchion.core.call import Call, Priority
from stanchion.core.errors import InvalidCall
from stanchion.policies.retry import RetryOptions

Messages = str | Sequence[Mapping[str, Any]]
ResumeMode = Literal["auto", "verify", "error"]
OURS = frozenset({"authorization", "api-key", "host", "content-length", "content-type", "transfer-encoding"})


class PerCall(msgspec.Struct, frozen=True, gc=False):
    """What one call may say over the configuration."""

    deadline_s: float | None = None  # seconds for all tries together, from now to the last byte
    idempotency_key: str | None = None
    retry: RetryOptions | None = None
    resume: ResumeMode | None = None
    headers: Mapping[str, str] | None = None  # extra request headers
    priority: Priority | None = None  # "batch" lets interactive calls go before it
    caller: str | None = None  # for whom: callers share a line fairly, and never an answer
    cache: str | None = None  # as Cache-Control: "max-age=600", "no-cache", "no-store", "only-if-cached"


NOTHING_SAID = PerCall()


def as_messages(messages: Messages) -> Sequence[Mapping[str, Any]]:
    """Return messages; a text is one of the user."""
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages


def unwritable(call: Call) -> InvalidCall | None:
    """Say why the body cannot be written as JSON, if that is so: by a type, never by a value."""
    try:
        _ = call.body.raw
    except TypeError as error:
        return InvalidCall(f"the call cannot be written as JSON: {error}", code="not_json")
    except UnicodeEncodeError:
        return InvalidCall("the call holds a lone surrogate, which is no text", code="not_json")
    return None
