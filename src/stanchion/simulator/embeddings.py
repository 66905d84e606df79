"""POST /v1/embeddings: deterministic vectors of length one.

A vector is the sum of one seeded vector per word, so texts that share words are near each other; no more
meaning than that.
"""

from __future__ import annotations

import base64
import math
import random
import re
from array import array
from functools import lru_cache
from hashlib import blake2b

import msgspec

from stanchion.simulator import tokens
from stanchion.simulator.answer import ENCODER, Answer, Charge, Context
from stanchion.simulator.errors import ApiError
from stanchion.simulator.shapes import EmbeddingRequest

_DECODER = msgspec.json.Decoder(EmbeddingRequest)
_DIMENSIONS = {"text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS = 1536
_MOST_INPUTS = 2048
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+")


def decode(body: bytes) -> EmbeddingRequest:
    """Read a request. Raises msgspec.ValidationError or DecodeError."""
    return _DECODER.decode(body)


def charge(request: EmbeddingRequest) -> Charge:
    """What the quota is charged with."""
    texts = _texts(request)
    return Charge(chars=sum(len(text) for text in texts), messages=0, n=len(texts))


def answer(request: EmbeddingRequest, context: Context) -> Answer:
    """Decide the vectors. Raises ApiError."""
    del context
    texts = _texts(request)
    if not texts or len(texts) > _MOST_INPUTS or not all(texts):
        raise ApiError(
            400, f"Invalid 'input': give 1 to {_MOST_INPUTS} texts, none of them empty.", param="input"
        )
    size = request.dimensions or _DIMENSIONS.get(request.model, _DEFAULT_DIMENSIONS)
    if not 1 <= size <= 4096:
        raise ApiError(400, f"Invalid 'dimensions': {size} is not between 1 and 4096.", param="dimensions")
    vocabulary = tokens.encoding_name(request.model)
    spent = sum(tokens.count(text, vocabulary) for text in texts)
    return Answer(
        prompt_tokens=spent,
        completion_tokens=0,
        whole=lambda: _whole(request, texts, size, spent),
    )


@lru_cache(maxsize=1024)
def vector(text: str, size: int) -> tuple[float, ...]:
    """The unit vector of a text."""
    total = [0.0] * size
    for word in _WORD.findall(text.lower()) or [text]:
        for position, value in _word_vector(word, size):
            total[position] += value
    length = math.sqrt(sum(value * value for value in total)) or 1.0
    return tuple(value / length for value in total)


def _word_vector(word: str, size: int) -> list[tuple[int, float]]:
    """Sixteen seeded entries stand for a word: sparse, so that long texts stay cheap."""
    source = random.Random(blake2b(word.encode(errors="replace"), digest_size=8).digest())
    return [(source.randrange(size), source.gauss(0.0, 1.0)) for _ in range(16)]


def _texts(request: EmbeddingRequest) -> list[str]:
    given = request.input
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        return [" ".join(str(token) for token in given)]
    return [item if isinstance(item, str) else str(item) for item in given]


def _whole(request: EmbeddingRequest, texts: list[str], size: int, spent: int) -> bytes:
    packed = request.encoding_format == "base64"
    data: list[dict[str, object]] = []
    for index, text in enumerate(texts):
        values = vector(text, size)
        shown = base64.b64encode(array("f", values).tobytes()).decode() if packed else values
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": spent, "total_tokens": spent}
    return ENCODER.encode({"object": "list", "data": data, "model": request.model, "usage": usage})
