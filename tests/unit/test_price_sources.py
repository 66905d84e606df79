"""How the two packages are read: what each says, in the shape of our list."""

from __future__ import annotations

import datetime
import json

import pytest

from scripts.price_sources import genai_rows, litellm_rows

TODAY = datetime.date(2026, 11, 24)
PROVIDER = """
providers: list[Provider] = [
    Provider(id='{id}', pricing_urls=['https://prices.example'], models=[
        ModelInfo(id='m', match={match}, prices={prices}{more}),
    ]),
]
"""


def genai(prices: str, *, id: str = "openai", match: str = "ClauseEquals(equals='m')", more: str = ""):
    source = PROVIDER.format(id=id, prices=prices, match=match, more=more)
    return {name: row for _, name, row in genai_rows(source, TODAY)}


def litellm(provider: str = "openai", name: str = "m", **entry):
    told = {"litellm_provider": provider, "mode": "chat", "source": "https://prices.example", **entry}
    return {called: row for _, called, row in litellm_rows(json.dumps({name: told}))}


def test_classes_and_steps_are_read_and_a_prefix_is_no_name() -> None:
    match = "ClauseOr(or_=[ClauseEquals(equals='n'), ClauseStartsWith(starts_with='m-')])"
    tiers = "TieredPrices(base=Decimal('1.25'), tiers=[Tier(start=200000, price=Decimal('2.5'))])"
    prices = f"ModelPrice(input_mtok={tiers}, cache_read_mtok=Decimal('0.125'), output_mtok=Decimal('10'))"
    found = genai(prices, match=match)
    assert set(found) == {"m", "n"}
    assert found["n"] == {
        "input": 1_250_000,
        "input_cached": 125_000,
        "output": 10_000_000,
        "above": [{"tokens": 200_000, "input": 2_500_000, "input_cached": 125_000, "output": 10_000_000}],
        "page": "https://prices.example",
    }


@pytest.mark.parametrize(
    ("constraint", "input_price"),
    [
        ("StartDateConstraint(start_date=datetime.date(2026, 11, 1))", 2_000_000),
        ("StartDateConstraint(start_date=datetime.date(2026, 12, 1))", 3_000_000),  # not yet
        ("TimeOfDateConstraint(start_time=datetime.time(0, 30))", 3_000_000),  # the dearest hour counts
    ],
)
def test_the_price_in_force_is_taken(constraint: str, input_price: int) -> None:
    prices = (
        "[ConditionalPrice(prices=ModelPrice(input_mtok=Decimal('3'))), "
        f"ConditionalPrice(constraint={constraint}, prices=ModelPrice(input_mtok=Decimal('2')))]"
    )
    assert genai(prices)["m"]["input"] == input_price


def test_a_tier_has_the_standard_price_of_what_it_does_not_say() -> None:
    more = ", price_variants=[PriceVariant(when={'processing': 'batch'}, prices=ModelPrice(input_mtok=Decimal('1')))]"
    found = genai("ModelPrice(input_mtok=Decimal('2'), output_mtok=Decimal('4'))", more=more)["m"]
    assert found["variants"] == {"batch": {"input": 1_000_000, "output": 4_000_000}}


def test_prices_that_were_converted_are_told_in_cny() -> None:
    found = genai("ModelPrice(input_mtok=Decimal('1.103'), output_mtok=Decimal('3.862'))", id="zhipuai")
    assert (found["m"]["input"], found["m"]["output"]) == (8_000_000, 28_000_000)
    row = litellm(
        "bigmodel",
        "bigmodel/glm",
        input_cost_per_token=1.1428571428571428e-06,
        output_cost_per_token=4e-06,
    )["glm"]
    assert (row["input"], row["output"], row["currency"]) == (8_000_000, 28_000_000, "CNY")


def test_a_fee_for_each_call_is_no_price_of_tokens() -> None:
    assert genai("ModelPrice(input_mtok=Decimal('1'), requests_kcount=Decimal('5'))") == {}


def test_the_map_is_read_with_its_tiers_and_steps() -> None:
    row = litellm(
        input_cost_per_token=5e-06,
        output_cost_per_token=3e-05,
        input_cost_per_token_above_272k_tokens=1e-05,
        input_cost_per_token_priority=1.25e-05,
        cache_creation_input_token_cost=0,
    )["m"]
    assert (row["input"], row["output"]) == (5_000_000, 30_000_000)
    assert row["above"] == [{"tokens": 272_000, "input": 10_000_000, "output": 30_000_000}]
    assert row["variants"]["priority"]["input"] == 12_500_000
    assert "input_cache_write" not in row  # a 0 there is a gap
    steps = [
        {"range": [0, 32000.0], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        {"range": [32000.0, 128000.0], "input_cost_per_token": 3e-06, "output_cost_per_token": 4e-06},
    ]
    row = litellm("dashscope", "dashscope/qwen", tiered_pricing=steps)["qwen"]
    assert (row["input"], row["above"][0]["tokens"], row["above"][0]["input"]) == (
        1_000_000,
        32_000,
        3_000_000,
    )


def test_what_is_not_of_tokens_or_free_without_a_page_is_left_out() -> None:
    assert litellm(mode="image_generation", input_cost_per_token=1e-06) == {}
    assert litellm(source="", input_cost_per_token=0, output_cost_per_token=0) == {}
    assert litellm("nobody", input_cost_per_token=1e-06) == {}
