"""Money is an integer, and a sum of products."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.usage import CLASSES, Usage
from stanchion.rules.pricing import Price, cost_micro_usd, cost_parts
from stanchion.wire.usage import WireUsage, usage_of
from tests.unit.wire.test_usage import FIXTURES

amounts = st.integers(0, 10**9)
usages = st.builds(Usage, **dict.fromkeys(CLASSES, amounts))
optional = st.none() | amounts
prices = st.builds(
    Price,
    input=amounts,
    output=amounts,
    **{name: optional for name in CLASSES if name not in ("input", "output")},
)


@pytest.mark.parametrize(
    ("usage", "price", "cost"),
    [
        (Usage(input=1_000_000, output=1_000_000), Price(150_000, 600_000), 750_000),
        (Usage(input=1), Price(150_000, 600_000), 0),  # 0.15 of a micro-dollar
        (Usage(input=10), Price(150_000, 0), 2),  # 1.5, half up
        (Usage(input_cached=100), Price(100_000, 0, input_cached=10_000), 1),
        (Usage(input_cached=100), Price(100_000, 0), 10),
        (Usage(input_cached=100), Price(100_000, 0, input_cached=0), 0),
        (Usage(output_reasoning=100), Price(0, 100_000), 10),
        (Usage(input_audio=10, output_audio=10), Price(0, 0, input_audio=100_000, output_audio=200_000), 3),
        (Usage(), Price(1, 1), 0),
    ],
)
def test_the_table(usage: Usage, price: Price, cost: int) -> None:
    assert cost_micro_usd(usage, price) == cost


@given(usages, prices)
def test_the_cost_is_the_exact_sum_rounded_once(usage: Usage, price: Price) -> None:
    exact = Fraction(0)
    for name in CLASSES:
        own = getattr(price, name)
        exact += getattr(usage, name) * Fraction(
            own if own is not None else getattr(price, name.split("_")[0])
        )
    assert abs(cost_micro_usd(usage, price) - exact / 1_000_000) <= Fraction(1, 2)
    assert isinstance(cost_micro_usd(usage, price), int)


@given(usages, usages, prices)
def test_two_calls_cost_what_both_cost_to_a_micro_dollar(one: Usage, two: Usage, price: Price) -> None:
    together = cost_micro_usd(one + two, price)
    assert abs(together - cost_micro_usd(one, price) - cost_micro_usd(two, price)) <= 1


@given(usages, usages)
def test_usage_adds_up_class_by_class(one: Usage, two: Usage) -> None:
    both = one + two
    assert both.total_tokens == one.total_tokens + two.total_tokens
    assert both.prompt_tokens == one.prompt_tokens + two.prompt_tokens
    assert (Usage(estimated=True) + one).estimated
    assert (one + two).estimated is False


@given(usages, prices)
def test_the_classes_costs_add_up_to_the_total_to_the_micro_dollar(usage: Usage, price: Price) -> None:
    parts = cost_parts(usage, price)
    assert sum(parts) == cost_micro_usd(usage, price)
    for name, part in zip(CLASSES, parts, strict=True):
        own = getattr(price, name)
        exact = getattr(usage, name) * Fraction(
            own if own is not None else getattr(price, name.split("_")[0]), 1_000_000
        )
        assert part >= 0
        assert abs(part - exact) <= 1


PRICE = Price(1_250_000, 10_000_000, 125_000, 1_500_000, 40_000_000, 9_000_000, 80_000_000)


@pytest.mark.parametrize("name", FIXTURES)
def test_what_any_provider_tells_is_billed_once_in_each_class(name: str) -> None:
    usage = usage_of(msgspec.convert(FIXTURES[name][0], WireUsage))
    parts = cost_parts(usage, PRICE)
    exact = sum(getattr(usage, each) * getattr(PRICE, each) for each in CLASSES)
    assert sum(parts) == (exact + 500_000) // 1_000_000
    assert all(getattr(usage, each) for each, part in zip(CLASSES, parts, strict=True) if part)


LONG = Price(
    1_000_000,
    2_000_000,
    above=(Price(3_000_000, 4_000_000, tokens=100), Price(5_000_000, 6_000_000, tokens=200)),
    variants={"batch": Price(500_000, 1_000_000, above=(Price(1_500_000, 2_000_000, tokens=100),))},
)


@pytest.mark.parametrize(
    ("prompt", "tier", "cost"),
    [
        (100, "", 100 + 20),
        (101, "", 303 + 40),  # all of it, not the token above alone
        (201, "", 1005 + 60),
        (100, "batch", 50 + 10),
        (101, "batch", 152 + 20),  # 151.5, half up
        (100, "flex", 100 + 20),  # no price of its own
    ],
)
def test_a_long_prompt_and_a_tier_have_prices_of_their_own(prompt: int, tier: str, cost: int) -> None:
    assert cost_micro_usd(Usage(input=prompt - 40, input_cached=40, output=10, tier=tier), LONG) == cost


def test_two_tiers_in_one_sum_are_none() -> None:
    assert (Usage(tier="flex") + Usage(tier="flex")).tier == "flex"
    assert (Usage(tier="flex") + Usage()).tier == ""
