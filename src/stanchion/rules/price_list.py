"""A list of prices by provider and model, as data/prices.json holds it, and which line of it is a model's.

A model is found by its name, or by its name without the date it was published on: "gpt-4o-2024-08-06" costs what
"gpt-4o" costs unless it has a line of its own.  A name that only begins like a known one is not taken for it: the
next "mini" would be billed at the price of its elder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from stanchion.core.usage import CLASSES
from stanchion.rules.pricing import Price

_DATED = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest)$")
_RATE_UNIT = 10_000  # a rate of exchange is counted in ten-thousandths


class Listed(Price, frozen=True, gc=False, kw_only=True):
    """The price of one model, in micro-units of its currency, and where it stands."""

    currency: str = "USD"
    source: str = ""  # which of the list's sources said so
    page: str = ""  # the provider's own price list; "" is the one of the provider
    since: str = ""  # from which day on it holds, where that is known


class Provider(msgspec.Struct, frozen=True, gc=False):
    """The models of one provider."""

    models: Mapping[str, Listed]
    hosts: tuple[str, ...] = ()  # at which it answers
    page: str = ""


class PriceList(msgspec.Struct, frozen=True, gc=False):
    """Everything that is listed.  `made_on` is the day on which it was read from its sources."""

    made_on: str
    providers: Mapping[str, Provider]

    def find(self, provider: str, model: str) -> Listed | None:
        """Return the model's line; None if there is none."""
        held = self.providers.get(provider)
        if held is None:
            return None
        return next((found for name in names_of(model) if (found := held.models.get(name))), None)

    def provider_at(self, host: str) -> str:
        """Return which provider answers at a host; "" if none that is listed does."""
        return next((name for name, each in self.providers.items() if host in each.hosts), "")


def names_of(model: str) -> Iterator[str]:
    """Yield the names under which a model may be listed, the closest first."""
    yield model
    bare = _DATED.sub("", model)
    if bare != model:
        yield bare
    if model.lower() != model:
        yield from names_of(model.lower())


def in_dollars(price: Price, per_dollar: float) -> Price:
    """Return a price of another currency in dollars, at so many units for a dollar; each is rounded half up once."""
    rate = round(per_dollar * _RATE_UNIT)

    def made(value: int) -> int:
        return (2 * value * _RATE_UNIT + rate) // (2 * rate)

    others = {name: getattr(price, name) for name in CLASSES if name not in ("input", "output")}
    return Price(
        made(price.input),
        made(price.output),
        **{name: None if value is None else made(value) for name, value in others.items()},
        tokens=price.tokens,
        above=tuple(in_dollars(step, per_dollar) for step in price.above),
        variants={name: in_dollars(each, per_dollar) for name, each in price.variants.items()},
    )
