"""What goes over the wire in every row: a request of 1.5 KB, an answer of 1 KB, events as OpenAI sends them."""

from __future__ import annotations

import json
from typing import Any

MODEL = "gpt-4o-mini"
KEY = "sk-benchmark-0000000000000000"
EVENTS = 100  # of a stream, the last two without text

MESSAGES: list[dict[str, Any]] = [
    {
        "role": "system",
        "content": "You answer the customers of a shop for garden tools, briefly and in their language. "
        * 11,
    },
    {"role": "user", "content": "My order 4711 should have come last week. " + "Where is it now? " * 16},
    {"role": "assistant", "content": "Let me look for it."},
    {"role": "user", "content": "Thank you. The old address is no longer right, by the way."},
]
PARAMS: dict[str, Any] = {"temperature": 0.7, "max_tokens": 500}


def request_body(*, stream: bool) -> bytes:
    """Return the JSON of a request."""
    body: dict[str, Any] = {"model": MODEL, **PARAMS, "messages": MESSAGES}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body, separators=(",", ":")).encode()


_USAGE = {
    "prompt_tokens": 288,
    "completion_tokens": 98,
    "total_tokens": 386,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
REPLY = json.dumps(
    {
        "id": "chatcmpl-B1enchmark0000000000000000000",
        "object": "chat.completion",
        "created": 1764000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Your parcel left the warehouse on Monday and is with the carrier. " * 6,
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_0000000000",
    }
).encode()

# The headers that OpenAI's API sends beside an answer.
_HEADERS = (
    b"date: Mon, 24 Nov 2025 08:00:00 GMT\r\n"
    b"access-control-expose-headers: X-Request-ID\r\n"
    b"openai-organization: org-benchmark\r\n"
    b"openai-processing-ms: 412\r\n"
    b"openai-version: 2020-10-01\r\n"
    b"x-envoy-upstream-service-time: 430\r\n"
    b"x-ratelimit-limit-requests: 3000000\r\n"
    b"x-ratelimit-limit-tokens: 2000000000\r\n"
    b"x-ratelimit-remaining-requests: 2999999\r\n"
    b"x-ratelimit-remaining-tokens: 1999999681\r\n"
    b"x-ratelimit-reset-requests: 0s\r\n"
    b"x-ratelimit-reset-tokens: 0s\r\n"
    b"x-request-id: req_00000000000000000000000000000000\r\n"
    b"strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"server: benchmark\r\n"
)
WHOLE_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    + _HEADERS
    + b"content-length: %d\r\n\r\n" % len(REPLY)
    + REPLY
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    + _HEADERS
    + b"transfer-encoding: chunked\r\n\r\n"
)


def _event(choices: list[Any], usage: object) -> bytes:
    shown = {
        "id": "chatcmpl-B1enchmark0000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1764000000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_0000000000",
        "choices": choices,
        "usage": usage,
        "obfuscation": "a1b2c3d",
    }
    return b"data: " + json.dumps(shown, separators=(",", ":")).encode() + b"\n\n"


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_DELTA = {"index": 0, "delta": {"content": " parcel"}, "logprobs": None, "finish_reason": None}
_STOP = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
EVENT = _chunked(_event([_DELTA], None))
STREAM_END = (
    _chunked(_event([_STOP], None))
    + _chunked(_event([], _USAGE))
    + _chunked(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)
TEXT_EVENTS = EVENTS - 2
