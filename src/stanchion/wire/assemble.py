"""Put the events of a streamed chat completion together to the whole one.

Generic by construction: a text grows, a list is merged by `index`, an object is merged field by field,
anything else is replaced by what comes later.  So fields that nobody here knows survive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from stanchion.wire.objects import as_list, as_object

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_GROW = frozenset({"content", "refusal", "reasoning_content", "reasoning", "arguments", "transcript"})


def assemble(events: Iterable[bytes]) -> bytes:
    """Return the whole answer's JSON.  `events` are the events' data, without [DONE]."""
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for data in events:
        event = as_object(_decode(data)) or {}
        for each in as_list(event.pop("choices", None)) or ():
            choice = as_object(each) or {}
            _add_choice(choices.setdefault(_index(choice) or 0, {}), choice)
        whole.update({name: value for name, value in event.items() if value is not None or name not in whole})
    whole["object"] = "chat.completion"
    whole["choices"] = [_finished(choices[index]) for index in sorted(choices)]
    return _encode(whole)


def _index(fields: dict[str, Any]) -> int | None:
    index = fields.get("index")
    return index if isinstance(index, int) else None


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    """Take the numbers of the pieces off what is whole: in a whole answer a tool call has none."""
    for tool in as_list(choice["message"].get("tool_calls")) or ():
        (as_object(tool) or {}).pop("index", None)
    return choice


def _add_choice(into: dict[str, Any], choice: dict[str, Any]) -> None:
    into.setdefault("index", _index(choice) or 0)
    message = into.setdefault("message", {"role": "assistant", "content": None})
    for name, value in choice.items():
        if name == "delta":
            _merge(message, as_object(value) or {})
        elif name == "logprobs" and (more := as_object(value)) is not None:
            into["logprobs"] = _extended(as_object(into.get("logprobs")) or {}, more)
        elif name != "index" and (value is not None or name not in into):
            into[name] = value


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        before = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif name in _GROW and isinstance(value, str):
            into[name] = (before if isinstance(before, str) else "") + value
        elif (items := as_list(value)) is not None:
            into[name] = _by_index(as_list(before) or [], items)
        elif (fields := as_object(value)) is not None:
            into[name] = as_object(before) or {}
            _merge(into[name], fields)
        else:
            into[name] = value


def _by_index(before: list[Any], more: list[Any]) -> list[Any]:
    """Lay each item over the one with its `index`; one without an index is an item more."""
    places = {_index(fields): fields for each in before if (fields := as_object(each)) is not None}
    for item in more:
        fields = as_object(item) or {}
        index = _index(fields)
        if index is None:
            before.append(item)
            continue
        if index not in places:
            places[index] = {"index": index}
            before.append(places[index])
        _merge(places[index], fields)
    return before


def _extended(before: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return lists made longer, anything else replaced."""
    lists = {
        name: [*(as_list(before.get(name)) or ()), *items]
        for name, value in more.items()
        if (items := as_list(value)) is not None
    }
    told = {name: value for name, value in more.items() if value is not None or name not in before}
    return {**before, **told, **lists}
