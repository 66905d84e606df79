"""What the tests of budgets share: a policy over a scripted provider, prices that are easy to reckon with."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.later import Later
from stanchion.core.reply import Reply
from stanchion.core.service import Filter, Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.budget import Account, Again, Budget, BudgetOptions, BudgetSettings, Keeper
from stanchion.policies.trace_attempt import TraceAttempt
from stanchion.rules.pricing import MILLION, Price
from stanchion.stores.budgets import Budgets
from stanchion.stores.memory_budgets import MemoryBudgets

CHEAP = Price(MILLION, 2 * MILLION)  # a micro-dollar a token in, two a token out
DEAR = Price(10 * MILLION, 20 * MILLION)
NOON = 1_795_521_600.0  # 2026-11-24 12:00 UTC


class Named(Protocol):
    """A service that has a name."""

    @property
    def name(self) -> str: ...
    def __call__(self, call: Call, /) -> Awaitable[Reply]: ...


class World:
    """One budget, or several, in micro-dollars."""

    def __init__(
        self,
        *services: Named,
        prices: Sequence[Price | None] = (CHEAP,),
        store: Budgets | None = None,
        above: Sequence[Filter] = (),
        budgets: dict[str, BudgetSettings] | None = None,
        micro: int = 10_000,
        otherwise: Price | None = None,
        later: bool = False,
        **options,
    ) -> None:
        self.metrics, self.clock = Metrics(), Clock()
        self.store = store or MemoryBudgets(self.clock.now)
        self.jobs = []
        self.keeper = Keeper(self.store, self.jobs.append, self.metrics)
        self.now = NOON
        self.later = Later(self.clock) if later else None
        named: dict[str, Price | None] = dict(zip(("scripted/m", "other/m"), prices, strict=False))
        budgets = budgets or {"all": BudgetSettings(dollars=micro / MILLION)}
        self.budget = Budget(
            [Account(name, each) for name, each in budgets.items()],
            BudgetOptions(**options),
            self.keeper,
            self.metrics,
            prices=lambda _: prices,
            price_at=lambda endpoint, _: named.get(endpoint),
            otherwise=otherwise,
            wall=lambda: self.now,
            later=self.later,
        )
        traced = [
            stack(TraceAttempt(each.name, "m", self.metrics, self.clock), service=each) for each in services
        ]
        below = traced[0] if len(traced) == 1 else _ByTarget(traced)
        self.service = stack(self.budget, *above, Again(self.budget), service=below)

    async def __call__(self, call: Call) -> Reply:
        return await self.service(call)

    async def sums(self, purse: str = "all 2026-11") -> tuple[int, int]:
        """What is spent and held, when the outbox has done its work."""
        while self.jobs:
            await self.jobs.pop(0)()
        found = (await self.store.spent([purse]))[0]
        return found.spent, found.held


class _ByTarget:
    """The services of a chain, by the target that is asked."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services

    async def __call__(self, call: Call, /) -> Reply:
        return await self._services[int(call.target)](call)
