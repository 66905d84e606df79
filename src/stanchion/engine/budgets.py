"""Budgets of one engine: the store, its share while it is lost, the prices, the policy made of the settings."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.later import Later
from stanchion.engine.catalog import Catalog
from stanchion.engine.common_limits import CommonLimits
from stanchion.engine.outbox import Outbox
from stanchion.engine.prices import PriceBook
from stanchion.engine.settings import Settings
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.policies.budget import Account, Budget, Keeper
from stanchion.rules.pricing import MILLION, Price
from stanchion.stores.leased_budgets import LeasedBudgets, LeasedBudgetsOptions
from stanchion.stores.opening import open_budgets, shown

log = logging.getLogger(__name__)
_GROUP = "budgets"
_MODELS_MOST = 1000  # callers name models: what is kept for them is bounded


class CommonBudgets:
    """The money of one engine's processes.  `run` is a task of the engine."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        outbox: Outbox,
        common: CommonLimits | None = None,
    ) -> None:
        """Open the store; raises SettingsError, which shows no password.

        `common`: the limits, which are asked in the same step where they are at the same address.
        """
        self._url = settings.stores.budgets or "memory"
        self._metrics = metrics
        self._lost = metrics.budgets_store_lost.of()
        if common is not None and common.url != self._url:
            common = None
        store = open_budgets(self._url, clock) if common is None else common.budgets()
        self._leased: LeasedBudgets | None = None
        if self._url != "memory":
            store = self._leased = LeasedBudgets(
                store,
                f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}",
                _GROUP,
                clock=clock,
                options=_options(settings),
                on_lost=self._on_lost,
                on_back=self._on_back,
            )
        self.keeper = Keeper(store, outbox.put, metrics)
        if common is not None and self._leased is not None:
            self.keeper.together = common.together(self._leased)

    def policy(self, settings: Settings, catalog: Catalog, book: PriceBook, later: Later) -> Budget:
        """Make the policy of these settings."""
        if self._leased is not None:
            self._leased.options = _options(settings)
        prices = Prices(catalog, book)
        return Budget(
            [Account(name, each) for name, each in settings.budgets.items()],
            settings.budget,
            self.keeper,
            self._metrics,
            prices=prices.of_call,
            price_at=book.find,
            otherwise=otherwise(settings),
            later=later,
        )

    async def begin(self) -> None:
        """Say that this process is there, before it takes anything; goes on alone if the store is not."""
        if self._leased is not None:
            await self._leased.check()

    async def run(self) -> None:
        """Beat, and renew what calls hold, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.keeper.run())
            if self._leased is not None:
                group.create_task(self._leased.run())

    async def aclose(self) -> None:
        """Settle what is left, and close the store."""
        await self.keeper.aclose()

    def _on_lost(self) -> None:
        self._lost.set(1)
        assert self._leased is not None  # noqa: S101 - it calls this
        share = f"1/{self._leased.replicas}" if self._leased.options.share else "nothing"
        log_event(log, logging.ERROR, "budgets.store_lost", store=shown(self._url), share=share)

    def _on_back(self) -> None:
        self._lost.set(0)
        log_event(log, logging.WARNING, "budgets.store_back", store=shown(self._url))


def _options(settings: Settings) -> LeasedBudgetsOptions:
    return LeasedBudgetsOptions(
        share=settings.budget.lost == "share", replicas_least=settings.stores.replicas_least
    )


class Prices:
    """What the models cost that a call may be answered by."""

    def __init__(self, catalog: Catalog, book: PriceBook) -> None:
        self._catalog = catalog
        self._book = book
        self._found: dict[str, Sequence[Price | None]] = {}

    def of_call(self, call: Call) -> Sequence[Price | None]:
        """Return the price at each place that may be asked.  Raises UnknownModel."""
        found = self._found.get(call.model)
        if found is None:
            places = dict.fromkeys(self._catalog.places(call))
            found = [self._book.find(f"{provider}/{model}", model) for provider, model in places]
            if len(self._found) >= _MODELS_MOST:
                self._found.clear()
            self._found[call.model] = found
        return found


def otherwise(settings: Settings) -> Price | None:
    """Return what a model without a price counts as; None where that is nothing, which keeps to no budget."""
    pricing = settings.pricing
    price = Price(round(pricing.unknown_input * MILLION), round(pricing.unknown_output * MILLION))
    return price if pricing.unknown == "count" and (price.input or price.output) else None
