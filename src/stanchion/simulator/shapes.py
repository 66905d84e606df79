"""The parts of OpenAI's request bodies that the simulator reads.

Unknown fields are ignored, as the real API mostly does. What is not listed here has no effect on the answer.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
JsonObject: TypeAlias = "dict[str, Json]"
LooseObject: TypeAlias = dict[str, object]  # msgspec cannot name a recursive alias; narrowed where it is read


class Part(msgspec.Struct):
    """One part of a message's content: text, or something that only costs tokens here."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None


class FunctionCall(msgspec.Struct):
    """A function's name with its arguments as JSON text."""

    name: str = ""
    arguments: str = ""


class ToolCall(msgspec.Struct):
    """A call an earlier reply asked for."""

    id: str = ""
    type: str = "function"
    function: FunctionCall | None = None


class Message(msgspec.Struct):
    """One message of a conversation."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    def text(self) -> str:
        """All text of the message, parts joined by a newline."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if part.text)

    def other_parts(self) -> int:
        """How many parts are not text (images, audio, files)."""
        if self.content is None or isinstance(self.content, str):
            return 0
        return sum(
            1 for part in self.content if part.type not in ("text", "input_text", "output_text", "refusal")
        )


class FunctionSpec(msgspec.Struct):
    """A function the model may call."""

    name: str = ""
    description: str | None = None
    parameters: LooseObject | None = None


class Tool(msgspec.Struct):
    """A tool in the nested form of chat completions or the flat form of the Responses API."""

    type: str = "function"
    function: FunctionSpec | None = None
    name: str | None = None
    parameters: LooseObject | None = None

    def spec(self) -> FunctionSpec | None:
        """The function this tool describes, or None for a tool of another type."""
        if self.type != "function":
            return None
        if self.function is not None:
            return self.function
        return FunctionSpec(name=self.name, parameters=self.parameters) if self.name else None


class ToolChoice(msgspec.Struct):
    """A `tool_choice` that names one function."""

    type: str = "function"
    function: FunctionCall | None = None
    name: str | None = None

    def wanted(self) -> str | None:
        """The name of the function that must be called."""
        return self.function.name if self.function is not None else self.name


class JsonSchemaFormat(msgspec.Struct):
    """The schema inside `response_format`."""

    name: str = ""
    schema: LooseObject | None = None


class ResponseFormat(msgspec.Struct):
    """`response_format` of chat completions, or `text.format` of the Responses API (flat `schema`)."""

    type: str = "text"
    json_schema: JsonSchemaFormat | None = None
    schema: LooseObject | None = None

    def wanted_schema(self) -> LooseObject | None:
        """The JSON schema the answer must satisfy, if one was given."""
        return self.json_schema.schema if self.json_schema is not None else self.schema


class StreamOptions(msgspec.Struct):
    """`stream_options`; without usage a stream has no usage chunk."""

    include_usage: bool | None = False


class ChatRequest(msgspec.Struct):
    """POST /v1/chat/completions."""

    model: str
    messages: list[Message]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = True
    response_format: ResponseFormat | None = None
    service_tier: str | None = None

    def stops(self) -> list[str]:
        """The stop sequences as a list."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def cap(self) -> int | None:
        """The most output tokens allowed, or None."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class CompletionRequest(msgspec.Struct):
    """POST /v1/completions."""

    model: str
    prompt: str | list[str | int | list[int]] = ""
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    echo: bool | None = False


class TextFormat(msgspec.Struct):
    """`text` of the Responses API."""

    format: ResponseFormat | None = None


class ResponseInput(msgspec.Struct):
    """One item of a Responses API `input` list: a message, a function call or its output."""

    type: str = "message"
    role: str | None = None
    content: str | list[Part] | None = None
    output: str | list[Part] | None = None
    name: str | None = None
    arguments: str | None = None
    call_id: str | None = None


class ResponsesRequest(msgspec.Struct):
    """POST /v1/responses."""

    model: str
    input: str | list[ResponseInput] = ""
    instructions: str | None = None
    stream: bool | None = False
    max_output_tokens: int | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = True
    text: TextFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    metadata: dict[str, str] | None = None
    previous_response_id: str | None = None


class EmbeddingRequest(msgspec.Struct):
    """POST /v1/embeddings."""

    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str | None = "float"


class ModerationRequest(msgspec.Struct):
    """POST /v1/moderations."""

    input: str | list[str | Part]
    model: str | None = "omni-moderation-latest"
