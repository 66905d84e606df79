"""POST /v1/chat/completions: the JSON of whole replies and of chunks."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from stanchion.simulator import reply, tokens
from stanchion.simulator.answer import ENCODER, FINGERPRINT, Answer, Charge, Context
from stanchion.simulator.prompt_cache import LEAST_TOKENS
from stanchion.simulator.reply import Choice, Usage
from stanchion.simulator.shapes import ChatRequest
from stanchion.simulator.spoil import DONE

_DECODER = msgspec.json.Decoder(ChatRequest)


def decode(body: bytes) -> ChatRequest:
    """Read a request. Raises msgspec.ValidationError or DecodeError."""
    return _DECODER.decode(body)


def charge(request: ChatRequest) -> Charge:
    """What the quota is charged with."""
    messages = request.messages
    return Charge(
        chars=reply.charged_chars(messages),
        messages=len(messages),
        n=request.n or 1,
        images=sum(message.other_parts() for message in messages),
    )


def answer(request: ChatRequest, context: Context) -> Answer:
    """Decide the reply. Raises ApiError."""
    vocabulary = tokens.encoding_name(request.model)
    prompt = tokens.prompt_tokens(request.messages, vocabulary)
    reply.check(request, prompt, context.context_tokens)
    made = reply.choices(request, nondeterministic=context.nondeterministic, fault=context.fault)
    usage = count(request, made, prompt, context)
    return Answer(
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        whole=lambda: _whole(request, made, usage, context),
        events=lambda: _events(request, made, usage, context),
    )


def count(request: ChatRequest, made: list[Choice], prompt: int, context: Context) -> Usage:
    """The usage of a reply; the prompt enters the prompt cache."""
    cached = 0
    if prompt >= LEAST_TOKENS:
        ids = tokens.prompt_ids(request.messages, tokens.encoding_name(request.model))
        cached = context.cache.read(request.model, ids)
    thought = reply.reasoning_tokens(request.model)
    return Usage(prompt, sum(choice.tokens for choice in made) + thought, cached, thought)


def usage_json(usage: Usage) -> dict[str, object]:
    """Usage as chat completions and completions show it."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _whole(request: ChatRequest, made: list[Choice], usage: Usage, context: Context) -> bytes:
    return ENCODER.encode(
        {
            "id": context.id("chatcmpl-"),
            "object": "chat.completion",
            "created": context.created,
            "model": request.model,
            "choices": [_choice_json(request, choice) for choice in made],
            "usage": usage_json(usage),
            "service_tier": _tier(request),
            "system_fingerprint": FINGERPRINT,
        }
    )


def _tier(request: ChatRequest) -> str:
    """How the call is served: as it asked, where it named a tier."""
    return request.service_tier if request.service_tier in ("flex", "priority") else "default"


def _choice_json(request: ChatRequest, choice: Choice) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if choice.calls else choice.text,
        "refusal": None,
        "annotations": [],
    }
    if choice.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.calls
        ]
    logprobs = _logprobs(request, choice.pieces()) if request.logprobs else None
    return {
        "index": choice.index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": choice.finish_reason or None,
    }


def _logprobs(request: ChatRequest, pieces: list[str]) -> dict[str, object]:
    """Plausible log-probabilities: the longer the piece, the surer."""
    return {"content": [_logprob(piece, request.top_logprobs or 0) for piece in pieces], "refusal": None}


def _logprob(piece: str, top: int) -> dict[str, object]:
    ranked = [
        {
            "token": piece if rank == 0 else f"{piece[:1]}{chr(96 + rank)}",
            "logprob": -0.5 / (len(piece) + 1) - 1.5 * rank,
        }
        for rank in range(max(top, 1))
    ]
    listed = [{**item, "bytes": list(str(item["token"]).encode())} for item in ranked]
    return {**listed[0], "top_logprobs": listed[:top]}


def _events(request: ChatRequest, made: list[Choice], usage: Usage, context: Context) -> Iterator[bytes]:
    """Role, content or calls, finish reason, usage if asked for, [DONE]; n choices take turns."""
    with_usage = request.stream_options is not None and bool(request.stream_options.include_usage)
    head = (
        f'data: {{"id":"{context.id("chatcmpl-")}","object":"chat.completion.chunk","created":{context.created},'
        f'"model":{ENCODER.encode(request.model).decode()},"service_tier":"{_tier(request)}",'
        f'"system_fingerprint":"{FINGERPRINT}","choices":['
    ).encode()
    tail = b'],"usage":null}\n\n' if with_usage else b"]}\n\n"
    for choice in made:
        delta = b'"role":"assistant","content":%b,"refusal":null' % (b"null" if choice.calls else b'""')
        yield b'%b{"index":%d,"delta":{%b},"logprobs":null,"finish_reason":null}%b' % (
            head,
            choice.index,
            delta,
            tail,
        )
    turns = [_deltas(request, choice) for choice in made]
    while turns:
        for turn in list(turns):
            part = next(turn, None)
            if part is None:
                turns.remove(turn)
            else:
                yield b"%b%b%b" % (head, part, tail)
    for choice in made:
        reason = ENCODER.encode(choice.finish_reason or None)
        yield b'%b{"index":%d,"delta":{},"logprobs":null,"finish_reason":%b}%b' % (
            head,
            choice.index,
            reason,
            tail,
        )
    if with_usage:
        yield b'%b],"usage":%b}\n\n' % (head, ENCODER.encode(usage_json(usage)))
    yield DONE


def _deltas(request: ChatRequest, choice: Choice) -> Iterator[bytes]:
    """The middle of every content or tool-call chunk of a choice."""
    encode = ENCODER.encode
    for position, call in enumerate(choice.calls):
        opening: dict[str, object] = {
            "index": position,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield _call_delta(choice.index, opening)
        for start in range(0, len(call.arguments), 12):
            piece = call.arguments[start : start + 12]
            yield _call_delta(choice.index, {"index": position, "function": {"arguments": piece}})
    if request.logprobs:
        for piece in choice.pieces():
            logprobs = encode(_logprobs(request, [piece]))
            yield b'{"index":%d,"delta":{"content":%b},"logprobs":%b,"finish_reason":null}' % (
                choice.index,
                encode(piece),
                logprobs,
            )
        return
    head = b'{"index":%d,"delta":{"content":' % choice.index
    for piece in choice.pieces():
        yield b'%b%b},"logprobs":null,"finish_reason":null}' % (head, encode(piece))


def _call_delta(index: int, call: dict[str, object]) -> bytes:
    return b'{"index":%d,"delta":{"tool_calls":[%b]},"logprobs":null,"finish_reason":null}' % (
        index,
        ENCODER.encode(call),
    )
