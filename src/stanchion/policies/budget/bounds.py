"""The dearest prices that a call can meet, wherever it is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stanchion.core.call import Call
from stanchion.core.errors import InvalidCall
from stanchion.core.usage import TIERS
from stanchion.rules.budget import Bound, bound_of
from stanchion.rules.pricing import Price

Priced = Callable[[Call], Sequence[Price | None]]  # the price at each place that may be asked
_BOUNDS_MOST = 1000  # callers name models: what is kept for them is bounded


class Bounds:
    """Remembers those of models whose prices are the same for any prompt."""

    def __init__(self, prices: Priced, otherwise: Price | None) -> None:
        """`otherwise`: what a model without a price counts as; None: it is refused."""
        self._prices = prices
        self._otherwise = otherwise
        self._bounds: dict[str, Bound] = {}  # by model, where it is one whatever the prompt's length

    def of(self, call: Call, prompt: int) -> Bound:
        """Return them for a prompt of so many tokens.  Raises InvalidCall."""
        fields, model = call.body.fields, call.model
        bound = self._bounds.get(model)
        if bound is not None and "service_tier" not in fields:
            return bound
        prices, tier = self._known(call), _tier(fields)
        bound = bound_of(prices, prompt, tier)
        if not tier and not any(each.above for each in prices):
            if len(self._bounds) >= _BOUNDS_MOST:
                self._bounds.clear()
            self._bounds[model] = bound
        return bound

    def _known(self, call: Call) -> Sequence[Price]:
        """Return the price at each place.  Raises InvalidCall for one that is unknown, if that is refused."""
        found: list[Price] = []
        for known in self._prices(call):
            price = known or self._otherwise
            if price is None:
                raise InvalidCall(
                    "no price is known of this model, so it cannot be kept to a budget: write its price under "
                    "[prices], or under [pricing] what such models count as",
                    code="price_unknown",
                    param="model",
                )
            found.append(price)
        return found


def _tier(fields: Mapping[str, Any]) -> str:
    tier = fields.get("service_tier")
    return tier if isinstance(tier, str) and tier in TIERS else ""
