"""What is known of a model before anybody is asked: who would answer, what it costs, which limits are told.

For estimates and for caps.  It looks the keys up as an engine would, and opens nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import msgspec

from stanchion.core.call import Body, Call, Operation
from stanchion.engine.batch_place import find_offer
from stanchion.engine.budgets import otherwise
from stanchion.engine.catalog import Catalog
from stanchion.engine.config import Loaded
from stanchion.engine.prices import PriceBook
from stanchion.rules.lane_choice import Offer
from stanchion.rules.pricing import Price

# presets whose providers take response_format json_schema; the others are told the schema in words
_TAKES_SCHEMAS = frozenset({"openai", "azure", "openrouter", "ollama", "vllm", "llamacpp", "simulator"})


class ModelFacts(msgspec.Struct, frozen=True, gc=False):
    """What is known of one model, as callers write it: a model or a route."""

    places: tuple[str, ...]  # "provider/model" that may answer; the first of them are asked first
    first: tuple[str, ...]  # those of the first target
    prices: tuple[Price | None, ...]  # of each place
    targets: int  # that are asked one after the other
    takes_schemas: bool  # all places take response_format json_schema
    offer: Offer  # the cheaper ways that it has
    requests_per_minute: int  # of the first target's places and keys together; 0: nobody told
    tokens_per_minute: int

    @property
    def known_prices(self) -> Sequence[Price] | None:
        """All prices; None where one is unknown."""
        known = [price for price in self.prices if price is not None]
        return known if len(known) == len(self.prices) else None

    @property
    def unpriced(self) -> str:
        """Name a place that has no price; "" if all have one."""
        return next((name for name, price in zip(self.places, self.prices, strict=True) if price is None), "")

    @property
    def price(self) -> Price | None:
        """What it costs where it is asked first, at the dearest; None if that is unknown."""
        own = [price for name, price in zip(self.places, self.prices, strict=True) if name in self.first]
        known = [price for price in own if price is not None]
        return (
            max(known, key=lambda each: (each.output, each.input))
            if known and len(known) == len(own)
            else None
        )


class Models:
    """The models of one configuration."""

    def __init__(self, loaded: Loaded) -> None:
        """Raises SettingsError for a key that cannot be read."""
        self._settings = loaded.settings
        self._catalog = Catalog(loaded.settings, loaded.environ, _never)
        self._prices = PriceBook(loaded.settings)
        self._otherwise = otherwise(loaded.settings)

    def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model.  Raises UnknownModel, which names the nearest."""
        call = Call(operation=Operation.CHAT, body=Body({}), model=model)
        targets = self._catalog.route(call)
        places = list(dict.fromkeys(self._catalog.places(call)))
        home = self._catalog.home(call).names or frozenset[str]()
        names = [f"{provider}/{name}" for provider, name in places]
        found = zip(names, places, strict=True)
        return ModelFacts(
            places=tuple(names),
            first=tuple(name for name in names if name in home),
            prices=tuple(self._prices.find(at, name) or self._otherwise for at, (_, name) in found),
            targets=len(targets),
            takes_schemas=all(
                self._settings.providers[provider].preset in _TAKES_SCHEMAS for provider, _ in places
            ),
            offer=find_offer(self._catalog, model, self._prices),
            requests_per_minute=self._told(home, "requests_per_minute"),
            tokens_per_minute=self._told(home, "tokens_per_minute"),
        )

    def _told(self, home: frozenset[str], name: str) -> int:
        """Add a limit up over places and keys; 0 where one of them has none."""
        total = 0
        for provider in (each.partition("/")[0] for each in home):
            told = getattr(self._settings.providers[provider].limits, name)
            if not told:
                return 0
            keys = sum(slot.spec.provider == provider for slot, _ in self._catalog.keys)
            total += told * max(1, keys)
        return total


def _never(_: object) -> NoReturn:
    raise AssertionError("a catalog makes endpoints when they are asked for")  # pragma: no cover
