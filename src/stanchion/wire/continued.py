"""Write the events of a stream that was cut and taken up again, so that they continue the first one.

A reader sees one answer: the identity (`id`, `created`, ...) is that of the stream it began with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stanchion.wire import sse
from stanchion.wire.objects import as_list, as_object

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_IDENTITY = ("id", "object", "created", "model", "system_fingerprint", "service_tier")


def identity(data: bytes) -> dict[str, Any]:
    """Read the identity of a stream out of one of its events' data."""
    found = _decode(data)
    return {name: found[name] for name in _IDENTITY if name in found} if isinstance(found, dict) else {}


def renamed(data: bytes, who: dict[str, Any]) -> bytes:
    """Write an event of the second stream under the identity of the first."""
    found = _decode(data)
    return sse.write(_encode({**found, **who}) if isinstance(found, dict) else data)


def marks(data: bytes) -> list[tuple[str, str]]:
    """Read what an event says once and not in pieces: each choice's role and finish_reason, as pieces."""
    found = as_object(_decode(data)) or {}
    said: list[tuple[str, str]] = []
    for each in as_list(found.get("choices")) or ():
        choice = as_object(each) or {}
        delta = as_object(choice.get("delta")) or {}
        for name, value in (("role", delta.get("role")), ("finish_reason", choice.get("finish_reason"))):
            if isinstance(value, str):
                said.append((f"{choice.get('index', 0)}.{name}", value))
    return said


def rest(pieces: Sequence[tuple[str, str]], who: dict[str, Any]) -> bytes:
    """Write what is new in an event that begins with something already delivered: b"" if nothing is.

    Raises ValueError if a tool call *begins* in it: its id is not among the pieces.
    """
    choices = [_choice(where, text, who) for where, text in pieces]
    return b"".join([sse.write(_encode({**who, "choices": [choice]})) for choice in choices])


def _nothing(who: dict[str, Any]) -> dict[str, Any]:
    return {"text": ""} if who.get("object") == "text_completion" else {"delta": {}}


def _choice(where: str, text: str, who: dict[str, Any]) -> dict[str, Any]:
    index, _, field = where.partition(".")
    choice: dict[str, Any] = {"index": int(index), "finish_reason": None}
    if field == "finish_reason":
        return {**choice, "finish_reason": text, **_nothing(who)}
    if who.get("object") == "text_completion":
        choice["text"] = text
    elif field.startswith(("?", "function_call.", "audio")):
        raise ValueError("there is something in the event that cannot be written in part")
    elif field.startswith("tool."):
        _, number, part = field.split(".")
        if part != "arguments":
            raise ValueError("a tool call begins in the same event")
        choice["delta"] = {"tool_calls": [{"index": int(number), "function": {"arguments": text}}]}
    else:
        choice["delta"] = {field: text}
    return choice
