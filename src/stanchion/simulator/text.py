"""Deterministic replies: the same conversation, model and seed give the same text.

The reply speaks the language of the last user message, quotes its beginning and gives steps that fit its
subject. It understands nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import count

from stanchion.simulator.phrases import CHINESE, ENGLISH, TOPIC, Language
from stanchion.simulator.shapes import Message

_CJK = re.compile(r"[\u3400-\u9fff]")
_SPACE = re.compile(r"\s+")
_GREETING = re.compile(r"\W*(hi|hello|hey|good (morning|day|evening)|你好|您好|在吗|嗨)\W*", re.IGNORECASE)
_QUOTED_CHARS = 80
_LONG_MODEL = re.compile(r"sim-long-(\d{1,6})$")


def last_user_text(messages: Sequence[Message]) -> str:
    """The text of the last message of the user, or of the last message at all."""
    for message in reversed(messages):
        if message.role == "user":
            return message.text()
    return messages[-1].text() if messages else ""


def seed_of(model: str, messages: Sequence[Message], seed: int | None, choice: int = 0) -> int:
    """A number that is the same for the same request."""
    digest = blake2b(model.encode(), digest_size=8)
    for message in messages:
        digest.update(message.role.encode(errors="replace"))
        digest.update(message.text().encode(errors="replace"))
        digest.update(b"\0")
    digest.update(f"{seed}/{choice}".encode())
    return int.from_bytes(digest.digest(), "big")


def language_of(text: str) -> Language:
    """Chinese if a fifth of the first letters are Han characters, else English."""
    start = text[:200]
    return CHINESE if 5 * len(_CJK.findall(start)) >= len(start.replace(" ", "")) > 0 else ENGLISH


def topic_of(text: str) -> str:
    """The beginning of a message on one line, cut at a word."""
    line = _SPACE.sub(" ", text).strip()
    if len(line) <= _QUOTED_CHARS:
        return line
    cut = line[:_QUOTED_CHARS]
    space = cut.rfind(" ")
    return (cut[:space] if space > _QUOTED_CHARS // 2 else cut).rstrip(" ,.;:，。；：") + "…"


def compose(messages: Sequence[Message], seed: int) -> str:
    """The reply to a conversation."""
    asked = last_user_text(messages)
    language = language_of(asked)
    source = random.Random(seed)
    if messages and messages[-1].role == "tool":
        found = source.choice(language.found).replace(TOPIC, messages[-1].text())
        return f"{found}\n\n{source.choice(language.closings)}"
    if not asked.strip() or (len(asked) < 30 and _GREETING.fullmatch(asked)):
        return source.choice(language.hello)
    steps = _steps(asked, language)
    kept = steps[: source.randint(3, len(steps))]
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(kept, 1))
    echo = source.choice(language.echoes).replace(TOPIC, topic_of(asked))
    gap = "" if language is CHINESE else " "
    return (
        f"{source.choice(language.greetings)}{gap}{echo}\n\n{source.choice(language.lead_ins)}\n\n{numbered}\n\n"
        f"{source.choice(language.asides)}{gap}{source.choice(language.closings)}"
    )


def long_length(model: str) -> int | None:
    """The tokens that a model named `sim-long-N` answers with."""
    found = _LONG_MODEL.match(model)
    return int(found.group(1)) if found else None


@lru_cache(maxsize=64)
def filler(tokens: int, language: Language = ENGLISH) -> str:
    """Text of at least that many tokens."""
    lines: list[str] = []
    size = 0
    every = [step for subject in language.subjects for step in subject.steps]
    for number in count(1):
        if size > tokens:
            break
        line = f"{number}. {every[number % len(every)]}"
        lines.append(line)
        size += len(line) // 6
    return "\n".join(lines)


def _steps(asked: str, language: Language) -> tuple[str, ...]:
    low = asked.lower()
    best = max(language.subjects, key=lambda subject: sum(low.count(word) for word in subject.words))
    return best.steps if any(word in low for word in best.words) else language.usual
