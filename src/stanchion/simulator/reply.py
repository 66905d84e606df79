"""What a simulated model says: text or calls of tools, cut as the request demands.

Shared by chat completions, completions and the Responses API; knows nothing of their JSON.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from stanchion.simulator import text, tokens
from stanchion.simulator.errors import ApiError
from stanchion.simulator.shapes import ChatRequest, Message, ToolChoice
from stanchion.simulator.tools import PlannedCall, fill, plan_calls

_CONTEXTS = {"gpt-4": 8_192, "gpt-3.5-turbo": 16_385, "gpt-4.1": 1_047_576, "gpt-4.1-mini": 1_047_576}
_REASONING_TOKENS = 128
_CALL_OVERHEAD_TOKENS = 10  # the frame around a function call, about what the real API counts


@dataclass(slots=True)
class Choice:
    """One of n replies: its text, or the calls it asks for."""

    index: int
    text: str
    finish_reason: str
    tokens: int
    vocabulary: str
    calls: list[PlannedCall] = field(default_factory=list[PlannedCall])

    def pieces(self) -> list[str]:
        """The text in the pieces a stream sends; only streams and log-probabilities pay for them."""
        return tokens.pieces(self.text, self.vocabulary)


@dataclass(slots=True)
class Usage:
    """Tokens; `cached` is part of `prompt`, `reasoning` part of `completion`."""

    prompt: int
    completion: int
    cached: int
    reasoning: int


def check(request: ChatRequest, prompt_tokens: int, context_tokens: int) -> None:
    """Raises ApiError for what OpenAI refuses with 400."""
    if not request.messages:
        raise ApiError(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param="messages",
            code="empty_array",
        )
    if not 1 <= (request.n or 1) <= 128:
        raise ApiError(400, f"Invalid 'n': {request.n} is not between 1 and 128.", param="n")
    cap = request.cap()
    if cap is not None and cap < 1:
        raise ApiError(400, f"Invalid 'max_tokens': {cap} is less than 1.", param="max_tokens")
    demanded = isinstance(request.tool_choice, ToolChoice) or request.tool_choice == "required"
    if demanded and not request.tools:
        raise ApiError(
            400,
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice",
        )
    limit = min(context_tokens, _CONTEXTS.get(request.model, context_tokens))
    if prompt_tokens > limit:
        raise ApiError(
            400,
            f"This model's maximum context length is {limit} tokens. However, your messages resulted in "
            f"{prompt_tokens} tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )


def choices(request: ChatRequest, *, nondeterministic: bool, fault: str | None = None) -> list[Choice]:
    """All n replies; two faults show in them: `empty_choices` and `no_finish`."""
    if fault == "empty_choices":
        return []
    vocabulary = tokens.encoding_name(request.model)
    made: list[Choice] = []
    for index in range(request.n or 1):
        if nondeterministic or request.model.startswith("sim-random"):
            seed = random.getrandbits(64)
        else:
            seed = text.seed_of(request.model, request.messages, request.seed, index)
        made.append(_choice(request, index, seed, vocabulary))
    if fault == "no_finish":
        for choice in made:
            choice.finish_reason = ""
    return made


def reasoning_tokens(model: str) -> int:
    """The hidden tokens of a reasoning model; a flat number."""
    return _REASONING_TOKENS if model.startswith(("o1", "o3", "o4")) else 0


def _choice(request: ChatRequest, index: int, seed: int, vocabulary: str) -> Choice:
    asked = text.last_user_text(request.messages)
    planned = plan_calls(
        request.tools,
        request.tool_choice,
        asked,
        parallel=request.parallel_tool_calls is not False,
        answered=request.messages[-1].role == "tool",
        seed=seed,
    )
    if planned:
        spent = sum(
            _CALL_OVERHEAD_TOKENS
            + tokens.count(call.name, vocabulary)
            + tokens.count(call.arguments, vocabulary)
            for call in planned
        )
        return Choice(index, "", "tool_calls", spent, vocabulary, planned)
    found, limit = _said(request, asked, seed)
    return _cut(request, index, found, vocabulary, limit)


def _said(request: ChatRequest, asked: str, seed: int) -> tuple[str, int | None]:
    """The full text before any limit of the request, and the exact length a model's name asks for."""
    wanted = request.response_format
    if wanted is not None and wanted.type == "json_schema":
        schema = wanted.wanted_schema() or {"type": "object", "properties": {}}
        return msgspec.json.encode(fill(schema, asked, random.Random(seed))).decode(), None
    if wanted is not None and wanted.type == "json_object":
        said = {"answer": text.compose(request.messages, seed), "topic": text.topic_of(asked)}
        return msgspec.json.encode(said).decode(), None
    if request.model == "sim-echo":
        return asked, None
    length = text.long_length(request.model)
    if length is not None:
        return text.filler(length, text.language_of(asked)), length
    return text.compose(request.messages, seed), None


def _cut(request: ChatRequest, index: int, said: str, vocabulary: str, length: int | None) -> Choice:
    for stop in request.stops():
        if stop and stop in said:
            said = said[: said.index(stop)]
    cap = request.cap()
    reason = "stop"
    if length is not None or cap is not None:
        pieces = tokens.pieces(said, vocabulary)
        if length is not None:
            pieces = pieces[:length]
        if cap is not None and len(pieces) > cap:
            pieces, reason = pieces[:cap], "length"
        said = "".join(pieces)
    return Choice(index, said, reason, tokens.count(said, vocabulary), vocabulary)


def charged_chars(messages: Sequence[Message]) -> int:
    """The characters an admission charge counts."""
    return sum(len(message.text()) for message in messages)
