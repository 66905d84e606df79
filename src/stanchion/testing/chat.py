"""Chat completions as a provider writes them: events, whole streams, whole answers, and calls for them."""

from __future__ import annotations

import json
import math
from typing import Any

from stanchion.core.call import Body, Call, Operation, json_call

DONE = b"data: [DONE]\n\n"
_ID = "chatcmpl-1"


def _event(choices: list[dict[str, Any]], *, id: str, **more: Any) -> bytes:
    chunk = {
        "id": id,
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-1",
        "choices": choices,
        **more,
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def chat_chunk(
    text: str | None = None,
    *,
    field: str = "content",
    role: str | None = None,
    finish: str | None = None,
    index: int = 0,
    id: str = _ID,
) -> bytes:
    """Write one event of a stream.  `field` is where in the delta the text stands."""
    delta: dict[str, Any] = {} if role is None else {"role": role}
    if text is not None:
        delta[field] = text
    return _event([{"index": index, "delta": delta, "finish_reason": finish}], id=id)


def tool_chunk(
    arguments: str = "", *, name: str | None = None, number: int = 0, index: int = 0, id: str = _ID
) -> bytes:
    """Write one event of a tool call; with `name` the one that begins it."""
    tool: dict[str, Any] = {"index": number, "function": {"arguments": arguments}}
    if name is not None:
        tool |= {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
    return _event([{"index": index, "delta": {"tool_calls": [tool]}, "finish_reason": None}], id=id)


def usage_chunk(prompt: int, completion: int, *, id: str = _ID) -> bytes:
    """Write the event that has usage and no choice."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return _event([], id=id, usage=usage)


def chat_stream(
    *texts: str, finish: str = "stop", usage: tuple[int, int] | None = None, id: str = _ID
) -> list[bytes]:
    """Write a whole stream: the role, the texts, the end, usage if given, and `[DONE]`."""
    begin = chat_chunk("", role="assistant", id=id)
    events = [begin, *(chat_chunk(text, id=id) for text in texts), chat_chunk(finish=finish, id=id)]
    if usage is not None:
        events.append(usage_chunk(*usage, id=id))
    return [*events, DONE]


def chat_answer(
    text: str = "hello", *, finish: str | None = "stop", usage: tuple[int, int] = (5, 2)
) -> bytes:
    """Write a whole answer."""
    prompt, completion = usage
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {
            "id": _ID,
            "object": "chat.completion",
            "created": 1,
            "model": "m-1",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }
    ).encode()


def chat_call(
    text: str = "hi",
    *,
    model: str = "m",
    stream: bool = False,
    deadline: float = math.inf,
    idempotency_key: str | None = None,
    **fields: Any,
) -> Call:
    """Make a call for a chat completion.  `fields` go into its body."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    if stream:
        body["stream"] = True
    raw = json.dumps(body).encode()
    return json_call(Operation.CHAT, Body.read(raw), deadline=deadline, idempotency_key=idempotency_key)
