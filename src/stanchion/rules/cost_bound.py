"""What a request can cost at the very most, told from its bytes alone.

A prompt has no more tokens than its JSON has bytes: every token of every byte-level vocabulary stands for one byte or
more, and the frame that a provider puts around a message is shorter than the one that JSON puts.  An answer has no more
than the request allows.  What a request only points at has a bound of its own.  That is several times what a prompt
costs in truth, and is held for a moment only: a cap that is kept by it is never passed.
Not bounded: what a provider charges beside tokens, for searches or for tools that it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stanchion.core.call import Operation
from stanchion.core.errors import InvalidCall
from stanchion.rules.budget import bound_of
from stanchion.rules.pricing import Price
from stanchion.rules.size import ANSWER_LIMITS

# tokens of what a request points at: the most that a picture costs at any model of the price list's providers
# (36,835, gpt-4o-mini in high detail), and as much as the longest context for a file
_POINTED_AT = (
    (b'"image_url"', 40_000),
    (b'"input_image"', 40_000),
    (b'"file_id"', 1_050_000),
    (b'"file_url"', 1_050_000),
)


class _Fields(msgspec.Struct, gc=False):
    """What of a body decides its cost.  A field of a wrong type costs nothing: the provider refuses it."""

    model: str = ""
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    service_tier: str | None = None


_read = msgspec.json.Decoder(_Fields, strict=False).decode


class Request(msgspec.Struct, frozen=True, gc=False):
    """What of a request decides its cost."""

    model: str
    prompt: int  # tokens, at most
    answer: (
        int | None
    )  # tokens of one answer, at most; None where nobody says; 0 where an answer costs nothing
    answers: int
    tier: str

    def cost(self, prices: Sequence[Price], answer: int = 0) -> int:
        """Return the micro-dollars at the dearest of these prices; `answer` holds where the request says nothing."""
        bound = bound_of(prices, self.prompt, self.tier)
        each = answer if self.answer is None else self.answer
        return bound.cost(self.prompt, each * self.answers)


def read_request(operation: Operation, body: bytes) -> Request:
    """Read what decides a request's cost.  Raises InvalidCall for a body that is none."""
    try:
        fields = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidCall(f"the request cannot be read: {error}", code="invalid_json") from None
    prompt = len(body) + sum(body.count(word) * tokens for word, tokens in _POINTED_AT)
    limits = ANSWER_LIMITS.get(operation.path, ())
    said = [each for name in limits if isinstance(each := getattr(fields, name), int) and each >= 0]
    answers = max(fields.n or 1, fields.best_of or 1, 1) if limits else 0
    answer = (max(said) if said else None) if limits else 0
    return Request(fields.model, prompt, answer, answers, fields.service_tier or "")
