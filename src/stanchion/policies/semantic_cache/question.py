"""Which calls differ in nothing but the words of their last question.

A *scope* is the exact cache's key (rules/cache_key.py) of a call whose last user text is taken out: two calls of one
scope have the same caller, model, targets, system text, tools, format and all other parameters.  What an embedding is
blind to stays in the scope (rules/exact_words.py).
A conversation is in no scope unless the call asks for stored answers by itself: its last line means little alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stanchion.core.call import Call, Operation
from stanchion.rules.cache_control import USUAL, CacheAsked
from stanchion.rules.cache_key import cache_key
from stanchion.rules.exact_words import exact_words
from stanchion.wire.objects import as_list, as_object

_FIELDS = {Operation.CHAT.path: "messages", Operation.RESPONSES.path: "input"}
_TEXT_PARTS = frozenset({"text", "input_text"})
_BEFORE = frozenset({"system", "developer"})  # who may speak before a single question


class Question(msgspec.Struct, frozen=True):
    """The last user text of a call, and all else that must be the same."""

    scope: bytes
    text: str

    def __repr__(self) -> str:
        return "<Question>"  # never the text


def read_question(call: Call, targets: Sequence[str], *, most_chars: int) -> Question | None:
    """Return what is asked; None where it is not one text, is too long, or is part of a conversation unasked."""
    name = _FIELDS.get(call.operation.path)
    if name is None:
        return None
    given = call.body.fields.get(name)
    if name == "input" and isinstance(given, str):
        text, holed = given, _hole(given)
    else:
        items = as_list(given)
        last = as_object(items[-1]) if items else None
        if not items or last is None or last.get("role") != "user":
            return None
        found = _text(last.get("content"))
        if found is None or (not _alone(items) and not _asks(call)):
            return None
        text, holed = found, [*items[:-1], {**last, "content": _hole(found)}]
    if not text.strip() or len(text) > most_chars:
        return None
    return Question(cache_key(call.having(body=call.body.having(**{name: holed})), targets), text)


def _hole(text: str) -> dict[str, list[str]]:
    """Return what stands in the text's place.  No text has this shape, so no call has such a key by itself."""
    return {"any text with": exact_words(text)}


def _text(content: Any) -> str | None:
    """Return a message's text; None if it has none, or holds more than one text."""
    if isinstance(content, str):
        return content
    parts = as_list(content)
    part = as_object(parts[0]) if parts and len(parts) == 1 else None
    if part is None or part.get("type") not in _TEXT_PARTS:
        return None
    text = part.get("text")
    return text if isinstance(text, str) and part.keys() == {"type", "text"} else None


def _alone(items: Sequence[Any]) -> bool:
    """Say whether nobody but the system speaks before the last text."""
    said = [as_object(item) for item in items[:-1]]
    return all(each is not None and each.get("role") in _BEFORE for each in said)


def _asks(call: Call) -> bool:
    wish: CacheAsked = call.options.get(CacheAsked, USUAL)
    return wish.asks
