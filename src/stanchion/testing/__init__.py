"""For tests of code that stands on Stanchion: a clock that jumps, a provider that plays a script.

Public, and never imported by the product.
"""

from __future__ import annotations

from stanchion.testing.chat import (
    DONE,
    chat_answer,
    chat_call,
    chat_chunk,
    chat_stream,
    tool_chunk,
    usage_chunk,
)
from stanchion.testing.scripted_provider import ScriptedProvider
from stanchion.testing.virtual_time import VirtualTimeLoop, virtual_time

__all__ = [
    "DONE",
    "ScriptedProvider",
    "VirtualTimeLoop",
    "chat_answer",
    "chat_call",
    "chat_chunk",
    "chat_stream",
    "tool_chunk",
    "usage_chunk",
    "virtual_time",
]
