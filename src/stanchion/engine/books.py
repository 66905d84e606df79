"""The money of one engine: prices, accounts, and the ledger where one is kept."""

from __future__ import annotations

from stanchion.core.clock import Clock
from stanchion.engine.accounts import Accounts
from stanchion.engine.ledger import Ledger
from stanchion.engine.outbox import Outbox
from stanchion.engine.prices import PriceBook
from stanchion.engine.settings import Settings
from stanchion.observe.metrics import Metrics
from stanchion.stores.opening import open_ledger

OFF = ("", "off")  # no ledger; a process that serves has made a file's address of ""


class Books:
    """What an engine knows of money."""

    def __init__(self, settings: Settings, outbox: Outbox, clock: Clock, metrics: Metrics) -> None:
        """Open the ledger, where there is one; raises SettingsError."""
        self.prices = PriceBook(settings)
        self.ledger: Ledger | None = None
        address = settings.stores.ledger
        if address not in OFF:
            self.ledger = Ledger(open_ledger(address), settings.ledger, outbox, clock, metrics)
        post = None if self.ledger is None else self.ledger.post
        self.accounts = Accounts(self.prices, metrics, post)

    def take(self, settings: Settings) -> None:
        """Go by new settings.  The ledger stays where it is until the process starts anew."""
        self.prices.take(settings)
        if self.ledger is not None:
            self.ledger.options = settings.ledger

    async def aclose(self) -> None:
        """Write what waits, and close the ledger."""
        if self.ledger is not None:
            await self.ledger.aclose()
