"""Write the events of a stream that was cut and taken up again, so that they continue the first one.

A reader sees one answer: the identity (`id`, `created`, ...) is that of the stream it began with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stanchion.wire import sse

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


def rest(pieces: Sequence[tuple[str, str]], finish_reason: str | None, who: dict[str, Any]) -> bytes:
    """Write what is new in an event that begins with something already delivered: b"" if nothing is.

    Raises ValueError if a tool call *begins* in it: its id is not among the pieces.
    """
    choices = [_choice(where, text, who) for where, text in pieces]
    if finish_reason is not None:
        choices.append(_choice("0.content", "", who))
        choices[-1]["finish_reason"] = finish_reason
    return b"".join([sse.write(_encode({**who, "choices": [choice]})) for choice in choices])


def _choice(where: str, text: str, who: dict[str, Any]) -> dict[str, Any]:
    index, _, field = where.partition(".")
    choice: dict[str, Any] = {"index": int(index), "finish_reason": None}
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
