"""POST /v1/moderations: flags a text by a handful of plain words, enough to see both outcomes."""

from __future__ import annotations

import msgspec

from stanchion.simulator.answer import ENCODER, Answer, Charge, Context
from stanchion.simulator.shapes import ModerationRequest

_DECODER = msgspec.json.Decoder(ModerationRequest)
_WORDS: dict[str, tuple[str, ...]] = {
    "harassment": ("idiot", "shut up", "白痴", "闭嘴"),
    "harassment/threatening": ("i will hurt you", "弄死你"),
    "hate": ("hate group",),
    "hate/threatening": (),
    "illicit": ("how to steal", "怎么偷"),
    "illicit/violent": (),
    "self-harm": ("hurt myself", "自残"),
    "self-harm/intent": ("want to die", "不想活"),
    "self-harm/instructions": (),
    "sexual": ("porn", "色情"),
    "sexual/minors": (),
    "violence": ("kill", "bomb", "杀", "炸弹"),
    "violence/graphic": (),
}


def decode(body: bytes) -> ModerationRequest:
    """Read a request. Raises msgspec.ValidationError or DecodeError."""
    return _DECODER.decode(body)


def charge(request: ModerationRequest) -> Charge:
    """What the quota is charged with."""
    return Charge(chars=sum(len(text) for text in _texts(request)), messages=0)


def answer(request: ModerationRequest, context: Context) -> Answer:
    """Decide the flags."""

    def whole() -> bytes:
        results = [_result(text) for text in _texts(request)]
        model = request.model or "omni-moderation-latest"
        return ENCODER.encode({"id": context.id("modr-"), "model": model, "results": results})

    return Answer(prompt_tokens=0, completion_tokens=0, whole=whole)


def _texts(request: ModerationRequest) -> list[str]:
    given = request.input
    if isinstance(given, str):
        return [given]
    texts = [item for item in given if isinstance(item, str)]
    parts = [part.text or "" for part in given if not isinstance(part, str)]
    return texts or ["\n".join(parts)]


def _result(text: str) -> dict[str, object]:
    low = text.lower()
    hits = {category: any(word in low for word in words) for category, words in _WORDS.items()}
    return {
        "flagged": any(hits.values()),
        "categories": hits,
        "category_scores": {category: 0.97 if hit else 0.0004 for category, hit in hits.items()},
        "category_applied_input_types": {category: ["text"] for category in hits},
    }
