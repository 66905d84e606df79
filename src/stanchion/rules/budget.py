"""What a call may cost at most, and how long an answer some money buys.  Amounts are micro-dollars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from stanchion.core.call import Body, Operation
from stanchion.core.usage import Usage
from stanchion.rules.charge import charge_of
from stanchion.rules.pricing import MILLION, Price

_encode = msgspec.json.Encoder().encode
# the fields that bound one answer, the first of them the present one
ANSWER_LIMITS: Mapping[Operation, tuple[str, ...]] = {
    Operation.CHAT: ("max_completion_tokens", "max_tokens"),
    Operation.COMPLETIONS: ("max_tokens",),
    Operation.RESPONSES: ("max_output_tokens",),
}
_NONE = ()
_ANSWERS = ("n", "best_of")
_FRAME = 3  # tokens around a message, and before the answer


class Bound(msgspec.Struct, frozen=True, gc=False):
    """The dearest prices that a call can meet, per million tokens."""

    input: int
    output: int

    def cost(self, prompt: int, answer: int) -> int:
        """Return what these tokens cost at most, rounded up."""
        return -(-(prompt * self.input + answer * self.output) // MILLION)

    def answer_within(self, amount: int, prompt: int) -> int:
        """Return how many tokens of an answer the amount buys beside the prompt; 0 if none."""
        left = amount * MILLION - prompt * self.input
        return max(0, left // self.output) if self.output else (2**31 if left >= 0 else 0)


class Size(msgspec.Struct, frozen=True, gc=False):
    """How large a call is, as far as can be known before it is answered."""

    prompt: int  # tokens
    answer: int | None  # the most tokens of one answer, as the caller says; None if it does not say
    answers: int  # how many answers are written; 0 where an answer costs nothing
    limits: tuple[str, ...]  # the fields that bound an answer


def bound_of(prices: Sequence[Price], prompt: int, tier: str = "") -> Bound:
    """Return the dearest of these prices, each as it is for so long a prompt and for this tier or the usual one."""
    most_input = most_output = 0
    for each in prices:
        for how in (tier, "") if tier else ("",):
            price = each.at(Usage(input=prompt, tier=how)) if each.above or how else each
            most_input = max(most_input, price.input, price.input_cache_write or 0, price.input_audio or 0)
            most_output = max(most_output, price.output, price.output_reasoning or 0, price.output_audio or 0)
    return Bound(most_input, most_output)


def size_of(operation: Operation, body: Body) -> Size:
    """Return how large a call is."""
    fields = body.fields
    limits = ANSWER_LIMITS.get(operation, _NONE)
    answers = 0
    if limits:
        answers = 1
        for name in _ANSWERS:
            n = fields.get(name)
            if isinstance(n, int) and n > answers:
                answers = n
    said: int | None = None
    for name in limits:
        most = fields.get(name)
        if isinstance(most, int) and most >= 0 and (said is None or most > said):
            said = most
    return Size(prompt_tokens(body), said, answers, limits)


def limited(fields: Mapping[str, Any], limits: Sequence[str], most: int) -> dict[str, int]:
    """Return the fields that bound an answer to `most` tokens: those that are there lowered, or the first of them."""
    there = [name for name in limits if isinstance(fields.get(name), int)] or limits[:1]
    return {name: min(most, fields[name]) if isinstance(fields.get(name), int) else most for name in there}


def prompt_tokens(body: Body) -> int:
    """Return about how many tokens the prompt has, rather too many than too few.

    Four characters a token (rules/charge.py) is what a provider's admission reckons with.  Of Latin letters a token
    holds three to five, of digits three, of other letters one or two; and each message is framed by three or four.
    """
    fields = body.fields
    messages = fields.get("messages")
    tokens = charge_of(body)
    tokens += tokens // 3 + _FRAME
    if isinstance(messages, list):
        found = cast("list[Any]", messages)
        tokens += _FRAME * len(found)
        for each in found:
            message: Any = each  # a cast is a call, and this runs for each message
            content = message.get("content") if isinstance(each, dict) else None
            if not isinstance(content, str) or not content.isascii():  # nearly never
                tokens += _more(content)
    else:
        tokens += _more(fields.get("input")) + _more(fields.get("prompt")) + _more(fields.get("instructions"))
    tools = fields.get("tools")
    return tokens + len(_encode(tools)) // 4 if tools else tokens


def _more(value: Any) -> int:
    """Count what text in other letters needs beyond a token for four characters."""
    if value is None:
        return 0
    if isinstance(value, str):
        return 0 if value.isascii() else len(value) // 2
    if isinstance(value, list):
        return sum(_more(each) for each in cast("list[Any]", value))
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        return _more(found.get("content")) + _more(found.get("text"))
    return 0
