"""Refuse a call whose price nobody knows, where that is wanted.

Before: looks the price up.  After: nothing.  On top of an endpoint's stack: it is the endpoint that has a price, and
nothing is counted against one that is not asked.
Weakness: a route with one endpoint that has no price refuses the calls that fall to it; give it a price, or take it out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from stanchion.core.call import Call, Operation
from stanchion.core.errors import InvalidCall
from stanchion.core.reply import Reply
from stanchion.core.service import Service

Refuses = Callable[[str, str], bool]  # endpoint, model


class PricingOptions(msgspec.Struct, frozen=True):
    """Where prices come from, and what holds for a model that has none."""

    built_in: bool = True  # the list that comes with Stanchion; [prices] stands over it
    unknown: Literal["count", "refuse"] = "count"  # a model without a price: count it as below, or refuse it
    unknown_input: float = 0.0  # dollars per million tokens of a model without a price
    unknown_output: float = 0.0
    cny_per_usd: float = 7.0  # prices that are listed in CNY are counted in dollars at this rate


def refuses_none(endpoint: str, model: str) -> bool:
    """Refuse no call for want of a price."""
    del endpoint, model
    return False


class Priced:
    """At an endpoint: is there a price?"""

    def __init__(self, endpoint: str, model: str, refuses: Refuses) -> None:
        self._endpoint = endpoint
        self._model = model
        self._refuses = refuses

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass on what has a price.  Raises InvalidCall."""
        if self._refuses(self._endpoint, self._model) and call.operation is not Operation.MODELS:
            raise InvalidCall(
                f"no price is known of this model at {self._endpoint.partition('/')[0]}, and pricing.unknown "
                "refuses such calls: write its price under [prices]",
                code="price_unknown",
                param="model",
            )
        return service(call)
