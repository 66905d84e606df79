"""The list of prices, and which of its lines is a model's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.usage import CLASSES, TIERS
from stanchion.rules.price_list import Listed, PriceList, Provider, in_dollars
from stanchion.rules.pricing import Price

DATA = Path(__file__).resolve().parents[3] / "src" / "stanchion" / "data" / "prices.json"
LIST = PriceList(
    "2026-11-24",
    {
        "openai": Provider(
            {"gpt-4o": Listed(1, 2), "gpt-4o-2024-05-13": Listed(3, 4)}, hosts=("api.openai.com",)
        ),
        "zhipu": Provider({"glm-5": Listed(5, 6)}),
    },
)


@pytest.mark.parametrize(
    ("provider", "model", "input_price"),
    [
        ("openai", "gpt-4o", 1),
        ("openai", "gpt-4o-2024-08-06", 1),
        ("openai", "gpt-4o-2024-05-13", 3),
        ("openai", "gpt-4o-latest", 1),
        ("openai", "gpt-4o-mini", None),  # it only begins alike
        ("openai", "gpt-4", None),
        ("zhipu", "GLM-5", 5),
        ("zhipu", "GLM-5-20260101", 5),
        ("zhipu", "gpt-4o", None),
        ("nobody", "gpt-4o", None),
        ("openai", "", None),
    ],
)
def test_a_model_is_found_by_its_name_with_or_without_a_date(
    provider: str, model: str, input_price: int | None
) -> None:
    found = LIST.find(provider, model)
    assert (found.input if found else None) == input_price


def test_a_provider_is_known_by_its_host() -> None:
    assert LIST.provider_at("api.openai.com") == "openai"
    assert LIST.provider_at("example.org") == ""


amounts = st.integers(0, 10**10)


@given(st.builds(Price, amounts, amounts, st.none() | amounts), st.floats(0.5, 200))
def test_another_currency_is_turned_into_dollars_and_rounded_once(price: Price, rate: float) -> None:
    made = in_dollars(price, rate)
    exact = Fraction(round(rate * 10_000), 10_000)
    assert abs(made.output - price.output / exact) <= Fraction(1, 2)
    assert (made.input_cached is None) == (price.input_cached is None)


def test_steps_and_tiers_are_turned_too() -> None:
    price = Price(72, 0, above=(Price(720, 0, tokens=9),), variants={"flex": Price(36, 0)})
    assert in_dollars(price, 7.2) == Price(
        10, 0, above=(Price(100, 0, tokens=9),), variants={"flex": Price(5, 0)}
    )


def test_every_line_of_the_list_that_is_shipped_is_whole_and_says_where_it_is_from() -> None:
    raw = DATA.read_bytes()
    listed = msgspec.json.decode(raw, type=PriceList)
    sources = {each["name"]: each for each in msgspec.json.decode(raw)["sources"]}
    lines = [(each, held) for held in listed.providers.values() for each in held.models.values()]
    assert len(lines) > 1000
    assert all(source["license"] == "MIT" and source["read_on"] for source in sources.values())
    for line, held in lines:
        assert line.source in sources
        assert held.page
        assert line.currency in {"USD", "CNY"}
        assert set(line.variants) <= set(TIERS)
        for price in (line, *line.above, *line.variants.values()):
            told = [getattr(price, name) for name in CLASSES]
            assert all(each is None or 0 <= each < 10**10 for each in told)
            steps = [step.tokens for step in price.above]
            assert steps == sorted(set(steps))
            assert not steps or steps[0] > 0


@pytest.mark.parametrize(
    ("provider", "model", "input_price", "output_price"),
    [
        ("openai", "gpt-4o", 2_500_000, 10_000_000),
        ("openai", "gpt-4o-mini", 150_000, 600_000),
        ("openai", "text-embedding-3-small", 20_000, 0),
        ("deepseek", "deepseek-flash", 300_000, 1_200_000),  # the dearest hour of the day
        ("zhipu", "glm-5.3", 8_000_000, 28_000_000),  # CNY
    ],
)
def test_well_known_prices_are_those_of_the_providers_pages(
    provider: str, model: str, input_price: int, output_price: int
) -> None:
    found = msgspec.json.decode(DATA.read_bytes(), type=PriceList).find(provider, model)
    assert found is not None
    assert (found.input, found.output) == (input_price, output_price)
    assert found.currency == ("CNY" if provider == "zhipu" else "USD")
