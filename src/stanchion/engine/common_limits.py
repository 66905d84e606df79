"""The providers' limits that several processes keep together: the store, its share while it is lost, the news.

What an answer taught goes to the store in the background, many at a time; only taking waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence

from stanchion.core.clock import Clock
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.policies.rate_limit import SharedLimits
from stanchion.stores.admission import Admissions
from stanchion.stores.budgets import Budgets
from stanchion.stores.leased import LeasedLimits, LeasedOptions
from stanchion.stores.leased_admission import LeasedAdmissions
from stanchion.stores.leased_budgets import LeasedBudgets
from stanchion.stores.memory import MemoryLimits
from stanchion.stores.opening import open_together, shown
from stanchion.stores.protocols import Change

log = logging.getLogger(__name__)
_GROUP = "limits"
_TOGETHER_MOST = 200  # changes in one step
_WAITING_MOST = 20_000  # changes; more are dropped: the next answer's headers tell the same again


class CommonLimits:
    """The limits of one engine's processes.  `run` is a task of the engine."""

    def __init__(self, url: str, clock: Clock, metrics: Metrics, *, replicas_least: int = 0) -> None:
        """Open the store at `url`; raises SettingsError, which shows no password."""
        self.url = url
        self._lost = metrics.limits_store_lost.of()
        self._dropped = metrics.outbox_dropped.of()
        self._opened = open_together(url, clock)
        self._budgets_used = False
        self._leased = LeasedLimits(
            self._opened.limits,
            MemoryLimits(clock.reading),
            f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}",
            _GROUP,
            clock=clock,
            options=LeasedOptions(replicas_least=replicas_least),
            on_lost=self._on_lost,
            on_back=self._on_back,
        )
        self._admissions = LeasedAdmissions(self._opened.admissions, self._leased)
        self._changes: list[Change] = []
        self._freed: list[tuple[str, str]] = []  # slots with those who give them back
        self._wanted = asyncio.Event()

    @property
    def shared(self) -> SharedLimits:
        """What the policy needs of it."""
        return SharedLimits(self._leased, self._later, self._free, self._admissions)

    def budgets(self) -> Budgets:
        """Return the budgets of the same store, once: whoever takes them closes them."""
        self._budgets_used = True
        return self._opened.budgets

    def together(self, budgets: LeasedBudgets) -> Admissions:
        """Return what asks for limits and for this money in one step."""
        return self._admissions.use(budgets)

    async def begin(self) -> None:
        """Say that this process is there, before it takes anything; goes on alone if the store is not."""
        await self._leased.check()

    async def run(self) -> None:
        """Beat, and pass the news on, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leased.run())
            group.create_task(self._tell())

    async def aclose(self) -> None:
        """Tell what is left to tell, and close the store."""
        try:
            if not self._leased.lost:
                await self._flush()
        finally:
            await self._leased.aclose()
            if not self._budgets_used:
                await self._opened.budgets.aclose()

    def _later(self, changes: Sequence[Change]) -> None:
        if len(self._changes) >= _WAITING_MOST:
            self._dropped.inc(len(changes))
            return
        self._changes.extend(changes)
        self._wanted.set()

    def _free(self, slot: str, holder: str) -> None:
        if len(self._freed) < _WAITING_MOST:  # else it expires
            self._freed.append((slot, holder))
        self._wanted.set()

    async def _tell(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._flush()

    async def _flush(self) -> None:
        while self._changes or self._freed:
            changes, self._changes = self._changes[:_TOGETHER_MOST], self._changes[_TOGETHER_MOST:]
            freed, self._freed = self._freed[:_TOGETHER_MOST], self._freed[_TOGETHER_MOST:]
            async with asyncio.TaskGroup() as group:  # they share their way to the store
                if changes:
                    group.create_task(self._leased.change(changes, (), ""))
                for slot, holder in freed:
                    group.create_task(self._leased.change((), (slot,), holder))

    def _on_lost(self) -> None:
        self._lost.set(1)
        share = self._leased.replicas
        log_event(log, logging.ERROR, "limits.store_lost", store=shown(self.url), share=f"1/{share}")

    def _on_back(self) -> None:
        self._lost.set(0)
        log_event(log, logging.WARNING, "limits.store_back", store=shown(self.url))
