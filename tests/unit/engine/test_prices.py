"""Which price holds at an endpoint: an own one, a listed one, none."""

from __future__ import annotations

import pytest

from stanchion.core.errors import InvalidCall
from stanchion.core.service import stack
from stanchion.core.usage import Usage
from stanchion.engine.prices import PriceBook
from stanchion.engine.settings import PriceSettings, ProviderSettings, Settings
from stanchion.policies.priced import Priced, PricingOptions
from stanchion.rules.pricing import FREE, Price
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, virtual_time
from tests.unit.policies.reading import read

PROVIDERS = {
    "openai": ProviderSettings(preset="openai"),
    "mine": ProviderSettings(preset="openai", base_url="http://10.0.0.5:8000/v1"),
    "groq": ProviderSettings(base_url="https://api.groq.com/openai/v1"),
    "azure": ProviderSettings(preset="azure", base_url="https://r.openai.azure.com/openai/v1"),
    "glm": ProviderSettings(preset="zhipu"),
    "local": ProviderSettings(preset="vllm"),
}
OWN = {
    "gpt-4o": PriceSettings(input=1, output=2),
    "openai/gpt-4o": PriceSettings(input=3, output=4, input_cached=0.5),
    "yuan": PriceSettings(input=7, output=14, currency="cny"),
}


def book(*, own: bool = False, **pricing) -> PriceBook:
    return PriceBook(
        Settings(providers=PROVIDERS, prices=OWN if own else {}, pricing=PricingOptions(**pricing))
    )


def found(endpoint: str, model: str, **how) -> Price | None:
    return book(**how).find(endpoint, model)


def test_an_own_price_of_a_place_stands_over_that_of_the_model_and_over_the_list() -> None:
    assert found("openai/gpt-4o#KEY", "gpt-4o", own=True) == Price(3_000_000, 4_000_000, 500_000)
    assert found("groq/gpt-4o", "gpt-4o", own=True) == Price(1_000_000, 2_000_000)
    assert found("groq/yuan", "yuan", own=True, cny_per_usd=7.0) == Price(1_000_000, 2_000_000)


def test_a_listed_price_is_one_of_the_provider_that_answers_at_the_address() -> None:
    listed = found("openai/gpt-4o-2024-08-06", "gpt-4o-2024-08-06")
    assert listed is not None
    assert listed.input == 2_500_000
    assert found("mine/gpt-4o", "gpt-4o") is None  # not OpenAI's address
    assert found("groq/llama-3.3-70b-versatile", "llama-3.3-70b-versatile") is not None
    assert found("groq/gpt-4o", "gpt-4o") is None
    assert found("azure/gpt-4o-mini", "gpt-4o-mini") is not None
    assert found("gone/gpt-4o", "gpt-4o") is None
    assert found("openai/gpt-4o", "gpt-4o", built_in=False) is None


def test_a_list_in_cny_is_counted_at_the_rate_of_the_settings() -> None:
    at_8 = found("glm/glm-5.3", "glm-5.3", cny_per_usd=8.0)
    assert at_8 is not None
    assert (at_8.input, at_8.output) == (1_000_000, 3_500_000)


def test_what_runs_at_home_is_free() -> None:
    assert found("local/qwen3", "qwen3") is FREE
    assert book().cost("local/qwen3", "qwen3", Usage(output=10**6)).known


def test_new_settings_hold_at_once_for_those_who_have_the_book() -> None:
    it = book()
    assert it.refuses("mine/x", "x") is False
    it.take(Settings(providers=PROVIDERS, pricing=PricingOptions(unknown="refuse")))
    assert it.refuses("mine/x", "x") is True
    it.take(
        Settings(
            providers=PROVIDERS,
            prices={"x": PriceSettings(input=0, output=0)},
            pricing=PricingOptions(unknown="refuse"),
        )
    )
    assert it.refuses("mine/x", "x") is False


@virtual_time
async def test_a_call_without_a_price_is_refused_before_it_is_sent_where_that_is_wanted() -> None:
    provider = ScriptedProvider([chat_answer()], [chat_answer()])
    allowed = stack(Priced("mine/x", "x", book().refuses), service=provider)
    assert await read(await allowed(chat_call()))
    refused = stack(Priced("mine/x", "x", book(unknown="refuse").refuses), service=provider)
    with pytest.raises(InvalidCall, match="no price is known of this model at mine") as caught:
        await refused(chat_call())
    assert (caught.value.code, caught.value.param) == ("price_unknown", "model")
    assert len(provider.calls) == 1
