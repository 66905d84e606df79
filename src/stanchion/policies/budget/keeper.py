"""The money that calls of this process hold: renewed while they run, settled in the background.

One for an engine; it outlives a reload.  `run` is a task of the engine's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.policies.budget.accounts import Account
from stanchion.policies.budget.running import Running
from stanchion.rules.pricing import MILLION
from stanchion.stores.admission import Admissions
from stanchion.stores.budgets import Budgets, Charge, Hold, Lease, Settlement
from stanchion.stores.memory_budgets import MemoryBudgets

log = logging.getLogger(__name__)
_TOGETHER_MOST = 200  # settlements, or leases, in one step
_ALERTED_MOST = 10_000
Put = Callable[[Callable[[], Awaitable[None]]], object]


class Keeper:
    """Renews and settles."""

    def __init__(self, budgets: Budgets, put: Put, metrics: Metrics) -> None:
        """`put` hands a job to the engine's outbox."""
        self.budgets = budgets
        self.own = budgets if type(budgets) is MemoryBudgets else None  # nothing is waited for
        self.together: Admissions | None = None  # where limits and money of a call are asked for in one step
        self.lease_s = 60.0
        self._put = put
        self._metrics = metrics
        self._open: dict[str, tuple[str, ...]] = {}  # by holder: its purses
        self._ended: list[Settlement] = []
        self._asked = False  # the outbox will settle
        self._alerted: set[str] = set()
        self._unshown: dict[Account, int] = {}  # what is spent, where that has changed

    @property
    def holding(self) -> int:
        """Count the calls that hold money under a lease."""
        return len(self._open)

    def holds(self, holder: str, holds: Sequence[Hold]) -> None:
        """Note what a call holds from now on: it is renewed until it is settled."""
        if holder not in self._open:
            self._open[holder] = tuple([each.purse for each in holds])

    def settle(self, running: Running, amount: int) -> None:
        """Spend `amount` in the place of what the call holds, in the background; nothing if it holds none.

        In memory it is done at once.  `show` says when all are settled.
        """
        own, here = self.own, running.here
        if here:
            for account, purse in here:
                purse.settle_here(running.amount_here, amount)
                if account.shown:
                    self._unshown[account] = purse.spent
            here.clear()
            amount = 0  # of what it holds under a lease besides
        purses = self._open.pop(running.holder, None)
        if purses is None:
            return
        if own is not None:
            for purse in purses:
                own.settle_now(running.holder, purse, amount)
            return
        self._ended.append(Settlement(running.holder, tuple([Charge(purse, amount) for purse in purses])))
        if not self._asked:
            self._asked = self._put(self.flush) is not False

    def give_back(self, running: Running) -> None:
        """Give back what a call holds in this process, unspent."""
        for _, purse in running.here:
            purse.settle_here(running.amount_here, 0)
        running.here.clear()

    async def flush(self) -> None:
        """Settle what has ended."""
        self._asked = False
        while self._ended:
            together, self._ended = self._ended[:_TOGETHER_MOST], self._ended[_TOGETHER_MOST:]
            await self.budgets.settle(together)

    async def run(self) -> None:
        """Renew the leases of calls that run, until cancelled."""
        while True:
            await asyncio.sleep(self.lease_s / 3)
            leases = [Lease(holder, purses) for holder, purses in self._open.items()]
            for start in range(0, len(leases), _TOGETHER_MOST):
                await self.budgets.renew(leases[start : start + _TOGETHER_MOST], self.lease_s)

    async def aclose(self) -> None:
        """Settle what is left, and close the store."""
        try:
            await self.flush()
        finally:
            await self.budgets.aclose()

    def saw(self, account: Account, purse: str, spent: int) -> None:
        """Show what is used, and say once a window that it is much."""
        if account.shown:
            self._unshown[account] = spent
            self.show()
        if spent >= account.alert_from and purse not in self._alerted:
            if len(self._alerted) >= _ALERTED_MOST:
                self._alerted.clear()
            self._alerted.add(purse)
            self._metrics.budget_alerts.of(account.name).inc()
            log_event(
                log,
                logging.WARNING,
                "budget.alert",
                budget=account.name,
                purse=purse,
                spent_usd=spent / MILLION,
                of_usd=account.cap / MILLION,
            )

    def show(self) -> None:
        """Show what has been spent of the budgets that have one purse."""
        for account, spent in self._unshown.items():
            if account.cap:
                self._metrics.budget_used.of(account.name).value = spent / account.cap
        self._unshown.clear()
