"""What an answer cost, in dollars, where the configuration knows the model's price."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from stanchion.core.usage import CLASSES, Usage
from stanchion.engine.settings import PriceSettings
from stanchion.rules.pricing import MILLION, Price, cost_micro_usd


class Prices:
    """The configured prices by model: "gpt-4o", or "provider/model" where providers differ."""

    def __init__(self, settings: Mapping[str, PriceSettings]) -> None:
        self._prices = {model: _price(each) for model, each in settings.items()}

    def cost(self, usage: Usage, *names: str) -> Decimal | None:
        """Return the cost at the price of the first name that has one; None if none has."""
        for name in names:
            price = self._prices.get(name)
            if price is not None:
                return Decimal(cost_micro_usd(usage, price)).scaleb(-6)
        return None


def _price(settings: PriceSettings) -> Price:
    dollars = {name: getattr(settings, name) for name in CLASSES}
    return Price(**{name: round(value * MILLION) for name, value in dollars.items() if value is not None})
