"""What tokens cost, in integers.

Prices are micro-dollars per million tokens, costs are micro-dollars.  The cost of each class is the difference of
two sums that are rounded half up, so the classes' costs add up to the total to the micro-dollar, and the total is
the exact sum rounded once.

A long prompt has another price at some providers: once it passes a step, that step's price holds for all tokens of
the call, not for those above it alone (OpenAI, Anthropic, Google and Qwen write so in their price lists).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stanchion.core.usage import CLASSES, Usage

MILLION = 1_000_000
_HALF = MILLION // 2


class Price(msgspec.Struct, frozen=True, gc=False):
    """Micro-dollars per million tokens.  A class without a price of its own costs what its kind costs."""

    input: int
    output: int
    input_cached: int | None = None
    input_cache_write: int | None = None
    input_audio: int | None = None
    output_reasoning: int | None = None
    output_audio: int | None = None
    tokens: int = 0  # of a step: it holds for prompts of more tokens than this
    above: tuple[Price, ...] = ()  # steps for long prompts, the shortest first
    variants: Mapping[str, Price] = {}  # by how it is served: "batch", "flex", "priority"

    def at(self, usage: Usage) -> Price:
        """Return the price that holds for this usage, of its tier and its length of prompt."""
        price = self.variants.get(usage.tier, self) if usage.tier else self
        for step in reversed(price.above):
            if usage.prompt_tokens > step.tokens:
                return step
        return price


FREE = Price(0, 0)


def scaled(price: Price, share: float) -> Price:
    """Return a price of which each class costs that share; each is rounded half up once.  It has no variants."""

    def part(value: int) -> int:
        return int(value * share + 0.5)

    others = {name: getattr(price, name) for name in CLASSES if name not in ("input", "output")}
    return Price(
        part(price.input),
        part(price.output),
        **{name: None if value is None else part(value) for name, value in others.items()},
        tokens=price.tokens,
        above=tuple(scaled(step, share) for step in price.above),
        variants={},
    )


def cost_parts(usage: Usage, price: Price) -> tuple[int, ...]:
    """Return what each class of `usage` cost in micro-dollars, in the order of CLASSES; their sum is the total."""
    if usage.tier or price.above:
        price = price.at(usage)
    exact = usage.input * price.input
    fresh = before = (exact + _HALF) // MILLION
    cached = written = heard = reasoned = spoken = 0
    # most classes are empty, and this runs for every call
    if usage.input_cached:
        exact += usage.input_cached * _or(price.input_cached, price.input)
        cached, before = _step(exact, before)
    if usage.input_cache_write:
        exact += usage.input_cache_write * _or(price.input_cache_write, price.input)
        written, before = _step(exact, before)
    if usage.input_audio:
        exact += usage.input_audio * _or(price.input_audio, price.input)
        heard, before = _step(exact, before)
    exact += usage.output * price.output
    shown, before = _step(exact, before)
    if usage.output_reasoning:
        exact += usage.output_reasoning * _or(price.output_reasoning, price.output)
        reasoned, before = _step(exact, before)
    if usage.output_audio:
        exact += usage.output_audio * _or(price.output_audio, price.output)
        spoken, _ = _step(exact, before)
    return fresh, cached, written, heard, shown, reasoned, spoken


def _step(exact: int, before: int) -> tuple[int, int]:
    """Return how much a rounded sum has grown, and the sum."""
    rounded = (exact + _HALF) // MILLION
    return rounded - before, rounded


def cost_micro_usd(usage: Usage, price: Price) -> int:
    """Return the cost of `usage` in micro-dollars."""
    return sum(cost_parts(usage, price))


def _or(price: int | None, otherwise: int) -> int:
    return otherwise if price is None else price
