"""What a call may cost at most, and how long an answer some money buys.  Amounts are micro-dollars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stanchion.core.usage import Usage
from stanchion.rules.pricing import MILLION, Price


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


def bound_of(prices: Sequence[Price], prompt: int, tier: str = "") -> Bound:
    """Return the dearest of these prices, each as it is for so long a prompt and for this tier or the usual one."""
    most_input = most_output = 0
    for each in prices:
        for how in (tier, "") if tier else ("",):
            price = each.at(Usage(input=prompt, tier=how)) if each.above or how else each
            most_input = max(most_input, price.input, price.input_cache_write or 0, price.input_audio or 0)
            most_output = max(most_output, price.output, price.output_reasoning or 0, price.output_audio or 0)
    return Bound(most_input, most_output)


def limited(fields: Mapping[str, Any], limits: Sequence[str], most: int) -> dict[str, int]:
    """Return the fields that bound an answer to `most` tokens: those that are there lowered, or the first of them."""
    there = [name for name in limits if isinstance(fields.get(name), int)] or limits[:1]
    return {name: min(most, fields[name]) if isinstance(fields.get(name), int) else most for name in there}
