"""Is a request body of the shape its operation needs?  Shape only: what a value means is the provider's matter.

Unknown fields pass: tomorrow's parameters work today.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from stanchion.core.call import Operation

_TEXT = {str}
_role = itemgetter("role")
_NUMBERS = (int, float)  # `int | float` would be made anew at each check
Problem = tuple[str, str]  # (param, what is wrong)


def problem(operation: Operation, fields: Mapping[str, Any]) -> Problem | None:
    """Return the first thing that is wrong, or None."""
    required = _REQUIRED.get(operation.path)
    if required is not None and required not in fields:
        return (required, f"you must provide '{required}'")
    for name, value in fields.items():
        rule = _RULES.get(name)
        if rule is not None and value is not None:
            found = rule(value)
            if found is not None:
                return found
    return None


def _messages(value: Any) -> Problem | None:
    if not isinstance(value, list) or not value:
        return ("messages", "'messages' must be a list with at least one message")
    if _all_well(value):  # pyright: ignore[reportUnknownArgumentType]
        return None
    for index, message in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if not isinstance(message, dict):
            return (f"messages[{index}]", "a message must be an object")
        if not isinstance(message.get("role"), str):  # pyright: ignore[reportUnknownMemberType]
            return (f"messages[{index}].role", "a message needs a 'role': a string")
    return None


def _all_well(messages: list[Any]) -> bool:
    """Say whether each has a role that is text, as nearly always; no step of it is Python's."""
    try:
        roles = set(map(type, map(_role, messages)))
    except (TypeError, LookupError):
        return False
    return roles == _TEXT


def _filled(name: str) -> Callable[[Any], Problem | None]:
    def check(value: Any) -> Problem | None:
        return (name, f"'{name}' must not be empty") if value in ("", []) else None

    return check


def _number(name: str) -> Callable[[Any], Problem | None]:
    def check(value: Any) -> Problem | None:
        if isinstance(value, bool) or not isinstance(value, _NUMBERS):
            return (name, f"'{name}' must be a number")
        return None

    return check


def _count(name: str) -> Callable[[Any], Problem | None]:
    def check(value: Any) -> Problem | None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            return (name, f"'{name}' must be a whole number of at least 1")
        return None

    return check


def _object(name: str) -> Callable[[Any], Problem | None]:
    def check(value: Any) -> Problem | None:
        if isinstance(value, dict):
            return None
        return (name, f"'{name}' must be an object")

    return check


def _list(name: str) -> Callable[[Any], Problem | None]:
    def check(value: Any) -> Problem | None:
        if isinstance(value, list):
            return None
        return (name, f"'{name}' must be a list")

    return check


_RULES: dict[str, Callable[[Any], Problem | None]] = {
    "messages": _messages,
    "input": _filled("input"),
    "prompt": _filled("prompt"),
    "temperature": _number("temperature"),
    "top_p": _number("top_p"),
    "n": _count("n"),
    "max_tokens": _count("max_tokens"),
    "max_completion_tokens": _count("max_completion_tokens"),
    "max_output_tokens": _count("max_output_tokens"),
    "stream_options": _object("stream_options"),
    "tools": _list("tools"),
    "metadata": _object("metadata"),
}
_REQUIRED = {
    Operation.CHAT.path: "messages",
    Operation.COMPLETIONS.path: "prompt",
    Operation.EMBEDDINGS.path: "input",
    Operation.MODERATIONS.path: "input",
}
