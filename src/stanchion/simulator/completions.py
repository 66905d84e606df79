"""POST /v1/completions: the older form, over the same replies."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from stanchion.simulator import chat, reply, tokens
from stanchion.simulator.answer import ENCODER, FINGERPRINT, Answer, Charge, Context
from stanchion.simulator.reply import Choice, Usage
from stanchion.simulator.shapes import ChatRequest, CompletionRequest, Message
from stanchion.simulator.spoil import DONE

_DECODER = msgspec.json.Decoder(CompletionRequest)
_DEFAULT_MAX_TOKENS = 16  # the old endpoint's own default


def decode(body: bytes) -> CompletionRequest:
    """Read a request. Raises msgspec.ValidationError or DecodeError."""
    return _DECODER.decode(body)


def charge(request: CompletionRequest) -> Charge:
    """What the quota is charged with."""
    return Charge(chars=sum(len(prompt) for prompt in _prompts(request)), n=request.n or 1)


def answer(request: CompletionRequest, context: Context) -> Answer:
    """Decide the replies to every prompt. Raises ApiError."""
    vocabulary = tokens.encoding_name(request.model)
    made: list[Choice] = []
    spent = 0
    for prompt in _prompts(request):
        inner = _as_chat(request, prompt)
        used = tokens.count(prompt, vocabulary)
        reply.check(inner, used, context.context_tokens)
        spent += used
        for choice in reply.choices(inner, nondeterministic=context.nondeterministic, fault=context.fault):
            choice.index = len(made)
            if request.echo:
                choice.text = prompt + choice.text
            made.append(choice)
    usage = Usage(spent, sum(choice.tokens for choice in made), 0, 0)
    return Answer(
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        whole=lambda: _whole(request, made, usage, context),
        events=lambda: _events(request, made, usage, context),
    )


def _prompts(request: CompletionRequest) -> list[str]:
    """The prompts as texts; token ids are not decoded, only shown as numbers."""
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if prompt and isinstance(prompt[0], int):
        return [" ".join(str(token) for token in prompt)]
    return [item if isinstance(item, str) else str(item) for item in prompt]


def _as_chat(request: CompletionRequest, prompt: str) -> ChatRequest:
    return ChatRequest(
        model=request.model,
        messages=[Message(role="user", content=prompt)],
        n=request.n,
        max_tokens=request.max_tokens if request.max_tokens is not None else _DEFAULT_MAX_TOKENS,
        stop=request.stop,
        seed=request.seed,
    )


def _frame(request: CompletionRequest, context: Context) -> dict[str, object]:
    return {
        "id": context.id("cmpl-"),
        "object": "text_completion",
        "created": context.created,
        "model": request.model,
        "system_fingerprint": FINGERPRINT,
    }


def _whole(request: CompletionRequest, made: list[Choice], usage: Usage, context: Context) -> bytes:
    listed = [
        {
            "index": choice.index,
            "text": choice.text,
            "logprobs": None,
            "finish_reason": choice.finish_reason or None,
        }
        for choice in made
    ]
    return ENCODER.encode(
        {**_frame(request, context), "choices": listed, "usage": chat.usage_json(usage)},
    )


def _events(
    request: CompletionRequest, made: list[Choice], usage: Usage, context: Context
) -> Iterator[bytes]:
    frame = _frame(request, context)
    with_usage = request.stream_options is not None and bool(request.stream_options.include_usage)
    if with_usage:
        frame["usage"] = None
    for choice in made:
        for piece in choice.pieces():
            part = {"index": choice.index, "text": piece, "logprobs": None, "finish_reason": None}
            yield b"data: %b\n\n" % ENCODER.encode({**frame, "choices": [part]})
        last = {
            "index": choice.index,
            "text": "",
            "logprobs": None,
            "finish_reason": choice.finish_reason or None,
        }
        yield b"data: %b\n\n" % ENCODER.encode({**frame, "choices": [last]})
    if with_usage:
        yield b"data: %b\n\n" % ENCODER.encode({**frame, "choices": [], "usage": chat.usage_json(usage)})
    yield DONE
