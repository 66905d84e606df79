"""What a model says in one choice: text, or tools to call; and its JSON text as a type of the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from stanchion.core.errors import Unusable

T = TypeVar("T")


class ToolCall(msgspec.Struct, gc=False):
    """One call of a tool that the model asks for."""

    id: str = ""
    name: str = ""
    arguments: str = ""  # JSON text; of a custom tool its free text
    index: int = 0

    def parsed(self, kind: type[T]) -> T:
        """Return the arguments as this type: a dict, a msgspec Struct, a dataclass.  Raises Unusable."""
        return parse(self.arguments, kind, "the tool's arguments")

    def __repr__(self) -> str:
        return f"<ToolCall {self.name!r}>"  # never the arguments


class Choice:
    """One of the answers to a chat completion."""

    __slots__ = ("data",)

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data  # all of it, fields that nobody here knows included

    @property
    def index(self) -> int:
        """Which of the `n` answers."""
        return self.data.get("index", 0)

    @property
    def message(self) -> Mapping[str, Any]:
        """The message, as it can be sent back in `messages`."""
        return self.data.get("message") or {}

    @property
    def text(self) -> str:
        """What is shown to a person."""
        return self.message.get("content") or ""

    @property
    def refusal(self) -> str | None:
        """What the model says instead, where it refuses."""
        return self.message.get("refusal")

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: stop, length, tool_calls, content_filter."""
        return self.data.get("finish_reason")

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tools to call."""
        return read_tool_calls(self.message)

    def __repr__(self) -> str:
        return f"<Choice {self.index} finish_reason={self.finish_reason!r}>"  # never the text


def read_tool_calls(message: Mapping[str, Any]) -> list[ToolCall]:
    """Read the tool calls of a message, or the pieces of them in a delta."""
    found: list[ToolCall] = []
    for position, each in enumerate(message.get("tool_calls") or ()):
        called = each.get("function") or each.get("custom") or {}
        arguments = called.get("arguments") or called.get("input") or ""
        index = each.get("index", position)
        found.append(ToolCall(each.get("id") or "", called.get("name") or "", arguments, index))
    return found


def parse(text: str, kind: type[T], what: str) -> T:
    """Decode JSON text as a type.  Raises Unusable; its message holds none of the text."""
    validate = getattr(kind, "model_validate_json", None)  # pydantic's, without knowing pydantic
    try:
        return msgspec.json.decode(text, type=kind) if validate is None else validate(text)
    except ValueError as error:  # msgspec's, pydantic's and that of a lone surrogate
        why = f": {error}" if isinstance(error, msgspec.ValidationError) else ""
        raise Unusable(f"{what} cannot be read as {kind.__name__}{why}", code="not_of_shape") from None
