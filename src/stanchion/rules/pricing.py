"""What tokens cost, in integers.

cost = sum over classes (tokens x price per million tokens) / 1,000,000, rounded half up once, at the
end.  Prices and costs are micro-dollars.
"""

from __future__ import annotations

import msgspec

from stanchion.core.usage import Usage

MILLION = 1_000_000


class Price(msgspec.Struct, frozen=True, gc=False):
    """Micro-dollars per million tokens.  A class without a price of its own costs what its kind costs."""

    input: int
    output: int
    input_cached: int | None = None
    input_cache_write: int | None = None
    input_audio: int | None = None
    output_reasoning: int | None = None
    output_audio: int | None = None


def cost_micro_usd(usage: Usage, price: Price) -> int:
    """Return the cost of `usage` in micro-dollars."""
    total = (
        usage.input * price.input
        + usage.input_cached * _or(price.input_cached, price.input)
        + usage.input_cache_write * _or(price.input_cache_write, price.input)
        + usage.input_audio * _or(price.input_audio, price.input)
        + usage.output * price.output
        + usage.output_reasoning * _or(price.output_reasoning, price.output)
        + usage.output_audio * _or(price.output_audio, price.output)
    )
    return (total + MILLION // 2) // MILLION


def _or(price: int | None, otherwise: int) -> int:
    return otherwise if price is None else price
