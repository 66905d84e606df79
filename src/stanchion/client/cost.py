"""What an answer cost, in dollars, where its model's price is known."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from stanchion.core.usage import Usage
from stanchion.engine.prices import PriceBook
from stanchion.engine.settings import PriceSettings, Settings
from stanchion.rules.pricing import cost_micro_usd


class Prices:
    """The prices by model: "gpt-4o", or "provider/model" where providers differ; then those that are listed."""

    def __init__(self, own: Mapping[str, PriceSettings], settings: Settings | None = None) -> None:
        """`settings` tell the providers: a listed price is one of a provider's."""
        self._book = PriceBook(msgspec.structs.replace(settings or Settings(), prices=dict(own)))

    def cost(self, usage: Usage, *names: str) -> Decimal | None:
        """Return the cost at the price of the first name that has one; None if none has."""
        price = self._book.price_of(names)
        return None if price is None else Decimal(cost_micro_usd(usage, price)).scaleb(-6)
