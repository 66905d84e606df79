"""What a model costs at an endpoint: own prices from the settings, then the list that comes with Stanchion.

The list is read from the package when the first price is asked for; nothing is fetched, ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from stanchion.core.trail import Attempt
from stanchion.core.usage import CLASSES, Cost, Usage
from stanchion.engine.settings import PriceSettings, ProviderSettings, Settings
from stanchion.providers.presets import PRESETS
from stanchion.rules.price_list import PriceList, in_dollars
from stanchion.rules.pricing import FREE, MILLION, Price, cost_parts, scaled

_KNOWN_MOST = 10_000  # callers name models: what is kept for them is bounded
_FREE = frozenset({"ollama", "vllm", "llamacpp", "simulator"})  # nobody sends a bill


@cache
def price_list() -> PriceList:
    """Return the list that comes with Stanchion."""
    raw = files("stanchion").joinpath("data", "prices.json").read_bytes()
    return msgspec.json.decode(raw, type=PriceList)


class PriceBook:
    """The prices of one engine.  `take` changes them in place: endpoints outlive a reload."""

    def __init__(self, settings: Settings) -> None:
        self.take(settings)

    def take(self, settings: Settings) -> None:
        """Go by new settings."""
        self._pricing = pricing = settings.pricing
        self._providers = dict(settings.providers)
        self._own = {name: own_price(each, pricing.cny_per_usd) for name, each in settings.prices.items()}
        self._otherwise = Price(
            round(pricing.unknown_input * MILLION), round(pricing.unknown_output * MILLION)
        )
        self._found: dict[tuple[str, str], Price | None] = {}

    def find(self, endpoint: str, model: str) -> Price | None:
        """Return the price of a model at an endpoint such as "openai/gpt-4o#KEY"; None if it is not known."""
        try:
            return self._found[endpoint, model]  # nearly always: and a call asks several times
        except KeyError:
            if len(self._found) >= _KNOWN_MOST:
                self._found.clear()
            place = endpoint.partition("#")[0]
            found = self._found[endpoint, model] = self._with_batches(place, self._find(place, model))
            return found

    def price_of(self, names: Sequence[str]) -> Price | None:
        """Return the price of an answer by the names it has: "provider/model", then those of its model."""
        own = next((self._own[name] for name in names if name in self._own), None)
        return own or (self.find(names[0], names[1]) if len(names) > 1 else None)

    def cost(self, endpoint: str, model: str, usage: Usage) -> Cost:
        """Return what usage cost at an endpoint."""
        price = self.find(endpoint, model)
        return Cost(cost_parts(usage, self._otherwise if price is None else price), price is not None)

    def cost_of(self, attempt: Attempt, usage: Usage) -> Cost:
        """Return what an attempt cost that used this; what it says itself is priced once, however many ask."""
        if attempt.cost is not None and usage is attempt.usage:
            return attempt.cost
        cost = self.cost(attempt.endpoint, attempt.model, usage)
        if usage is attempt.usage:
            attempt.cost = cost
        return cost

    def refuses(self, endpoint: str, model: str) -> bool:
        """Say whether a call there is refused for want of a price."""
        return self._pricing.unknown == "refuse" and self.find(endpoint, model) is None

    def _with_batches(self, place: str, price: Price | None) -> Price | None:
        """Add what the provider says its batches cost, where the price list has no price of them."""
        provider = self._providers.get(place.partition("/")[0])
        batches = PRESETS[provider.preset].batches if provider is not None else None
        share = batches.price_share if batches is not None else None
        if price is None or share is None or "batch" in price.variants or price == FREE:
            return price
        return replace(price, variants={**price.variants, "batch": scaled(price, share)})

    def _find(self, place: str, model: str) -> Price | None:
        own = self._own.get(place) or self._own.get(model)
        if own is not None:
            return own
        name = place.partition("/")[0]
        provider = self._providers.get(name)
        if provider is None:
            return None
        if provider.preset in _FREE:
            return FREE
        return self._listed(provider, model) if self._pricing.built_in else None

    def _listed(self, provider: ProviderSettings, model: str) -> Price | None:
        listed = price_list()
        # the address first: a preset can be pointed at another provider
        url = provider.base_url or PRESETS[provider.preset].base_url
        name = listed.provider_at(urlsplit(url).hostname or "")
        if not name and not provider.base_url.startswith("http://"):
            name = provider.preset
        found = listed.find(name, model)
        if found is None and name == "azure":
            found = listed.find("openai", model)  # a deployment that is called like its model
        if found is None or found.currency == "USD":
            return found
        return in_dollars(found, self._pricing.cny_per_usd)


def own_price(settings: PriceSettings, cny_per_usd: float) -> Price:
    """Return a price of the settings in micro-dollars."""
    told = {name: getattr(settings, name) for name in CLASSES}
    price = Price(**{name: round(value * MILLION) for name, value in told.items() if value is not None})
    return price if settings.currency == "usd" else in_dollars(price, cny_per_usd)
