"""OpenAI's answers, as far as anybody here looks into them.  What is not named is not read, and passes."""

from __future__ import annotations

from typing import Any

import msgspec

from stanchion.wire.usage import WireUsage

Text = str | list[Any] | None  # some providers write content as a list of parts


class Function(msgspec.Struct, gc=False):
    """A function's name and arguments, or a piece of them."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    """One tool call, or a piece of it."""

    index: int = 0
    function: Function | None = None


class Message(msgspec.Struct, gc=False):
    """A `delta` or a `message`."""

    content: Text = None
    refusal: str | None = None
    reasoning_content: str | None = None  # DeepSeek, Qwen, GLM
    reasoning: str | None = None  # vLLM, OpenRouter, Ollama
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None  # what tool_calls were before
    audio: Any = None


class Choice(msgspec.Struct, gc=False):
    """One of the answers."""

    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    text: str | None = None  # of /completions
    finish_reason: str | None = None


class Answer(msgspec.Struct, gc=False):
    """A chat completion, a completion, or one event of them."""

    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    model: str | None = None
    error: Any = None
    service_tier: Any = None  # how it was really served


class Response(msgspec.Struct, gc=False):
    """The Responses API's object."""

    status: str | None = None
    output: list[Any] | None = None
    usage: WireUsage | None = None
    model: str | None = None
    error: Any = None
    service_tier: Any = None  # how it was really served


class ResponseEvent(msgspec.Struct, gc=False):
    """One event of the Responses API."""

    type: str = ""
    delta: str | None = None
    output_index: int = 0
    content_index: int = 0
    response: Response | None = None


class Listing(msgspec.Struct, gc=False):
    """Embeddings, moderations, models."""

    data: list[msgspec.Raw] | None = None
    results: list[msgspec.Raw] | None = None
    usage: WireUsage | None = None
    model: str | None = None
    error: Any = None
