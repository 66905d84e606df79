"""Keep calls to budgets of money, by what they may cost before and by what they did cost after.

Before: prices the call at its dearest, holds that much of every budget it counts against in one step, and lowers
the bound of its answer to what is left; raises BudgetExceeded if that is too little.  While a stream runs whose
length nobody bounds: holds more as it goes, and cuts it when there is no more.  At the end, however it ends:
settles by what all its attempts used.  A crash: the hold ends by itself.  In this process's memory, while enough is
left, it is held without a lease, and settled a moment later for several calls together: what is held stands for it.
Stands above fallback and retry, since all targets of the chain are priced together; below all that can answer
without a provider.  `Again` stands below retry: what an attempt has used is held beside the next one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from stanchion.core.call import Call, Operation
from stanchion.core.chunk import Chunk
from stanchion.core.errors import BudgetExceeded, Unavailable
from stanchion.core.later import Later
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service
from stanchion.core.trail import Trail
from stanchion.observe.metrics import Metrics
from stanchion.policies.budget.accounts import Account
from stanchion.policies.budget.bounds import Bounds, Priced
from stanchion.policies.budget.keeper import Keeper
from stanchion.policies.budget.options import BudgetOptions
from stanchion.policies.budget.running import Running, Tokens, running_of
from stanchion.rules.pricing import Price, cost_micro_usd
from stanchion.rules.size import answer_size_of, prompt_tokens
from stanchion.stores.admission import Admitted, Money
from stanchion.stores.budgets import Hold, Reserved
from stanchion.stores.dues import Dues, dues_of
from stanchion.stores.protocols import StoreLost

PriceAt = Callable[[str, str], Price | None]  # of an attempt: endpoint, model


class Budget:
    """All budgets of one configuration."""

    def __init__(
        self,
        accounts: Sequence[Account],
        options: BudgetOptions,
        keeper: Keeper,
        metrics: Metrics,
        *,
        prices: Priced,
        price_at: PriceAt,
        otherwise: Price | None = None,
        wall: Callable[[], float] = time.time,
        later: Later | None = None,
    ) -> None:
        """`otherwise`: what a model without a price counts as; None: it is refused.

        `wall` tells seconds since 1970: windows are the calendar's.  Without `later` each call is settled at its end.
        """
        self._accounts = accounts
        self._cover_all = all(each.covers_all for each in accounts)
        self._options = options
        self._keeper = keeper
        self._metrics = metrics
        self._price_at = price_at
        self._wall = wall
        self._otherwise = otherwise
        self._bounds = Bounds(prices, otherwise)
        self._later = later
        self._over: list[Running] = []  # ended, and not settled yet
        self.running: dict[str, Running] = {}
        keeper.lease_s = options.lease_s

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass a call on whose price is held.  Raises BudgetExceeded, InvalidCall, Unavailable."""
        if call.operation is Operation.MODELS:
            return service(call)
        accounts = self._accounts
        if not self._cover_all:
            accounts = [each for each in accounts if each.covers(call)]
        return self._kept(call, service, accounts) if accounts else service(call)

    async def _kept(self, call: Call, service: Service, accounts: Sequence[Account]) -> Reply:
        size, prompt = answer_size_of(call.operation, call.body), prompt_tokens(call.body)
        bound = self._bounds.of(call, prompt)
        answer = self._options.answer_tokens if size.answer is None else size.answer
        running = running_of(call, size, prompt, bound, answer)
        now = self._wall()
        for account in accounts:
            running.purses.append(account.purse(call, now))
        if not self._hold_here(running):
            call = await self._hold(call, running, answer)
        call = running.limit(call)
        self.running[running.holder] = running
        try:
            reply = await service(call)
        except BaseException:
            self._settle((running,))
            raise
        if call.stream and not running.bounded:
            reply.through(partial(self._watched, running))
        return reply.on_end(partial(self._ended, running))

    def _ended(self, running: Running, end: End, error: BaseException | None) -> None:
        """What is held covers what is not settled yet, so that may wait a moment."""
        del end, error
        if self._later is None:
            self._settle((running,))
            return
        over = self._over
        if not over:
            self._later(self._settle_over)
        over.append(running)

    def _settle_over(self) -> None:
        over, self._over = self._over, []
        self._settle(over)

    def _settle(self, ended: Sequence[Running]) -> None:
        for running in ended:
            if self.running.pop(running.holder, None) is not None:
                self._keeper.settle(running, self.cost(running.trail, running))
        self._keeper.show()

    def _hold_here(self, running: Running) -> bool:
        """Hold what the call may cost where no purse is near its end and all are in this process; else nothing."""
        own = self._keeper.own
        if own is None:
            return False
        running.amount_here = amount = running.amount
        for account, purse, keep_s in running.purses:
            held = own.hold_here(purse, account.cap, amount, keep_s)
            if held is None:
                self._keeper.give_back(running)
                self._settle_over()  # before somebody is refused for what an ended call gives back
                return False
            running.here.append((account, held))
            if held.spent >= account.alert_from:
                self._keeper.saw(account, purse, held.spent)
        return True

    async def _hold(self, call: Call, running: Running, answer: int) -> Call:
        """Hold what the call may cost.  Raises BudgetExceeded, or Unavailable without a store.

        Where limits are kept in the same store it is only written down, and held below in one step with them.
        """
        size, options, amount = running.size, self._options, running.amount
        fewest = min(answer, options.least_tokens) * size.answers
        least = running.bound.cost(running.prompt, fewest) if size.answers else amount
        holds = self._holds(running, amount, least)
        if self._keeper.together is not None:
            dues = dues_of(call)
            if dues is None:
                dues = Dues(self._keeper.together)
                call = call.having(options={**call.options, Dues: dues})
            dues.money(Money(holds, options.lease_s), partial(self._funded, running, holds), running.limit)
        else:
            self._funded(running, holds, Admitted((), await self._reserved(running, holds)))
        return call

    def _funded(self, running: Running, holds: Sequence[Hold], admitted: Admitted) -> None:
        """Hear what became of the money, and of all that was asked for with it.  Raises BudgetExceeded."""
        reserved = admitted.money
        if reserved is None:
            return
        self._heard(running, holds, reserved, held=admitted.granted)
        if not reserved.granted:
            raise self._exceeded(running, reserved, holds[0].least, self._wall())
        if admitted.granted and reserved.cut:
            running.lower(max(holds[0].least, holds[0].amount - reserved.cut))

    async def reserve(self, running: Running, amount: int, least: int) -> Reserved:
        """Hold for a call, or more for it.  Raises Unavailable where the store is lost and nothing may be spent."""
        self._settle_over()
        holds = self._holds(running, amount, least)
        reserved = await self._reserved(running, holds)
        self._heard(running, holds, reserved, held=reserved.granted)
        return reserved

    def _holds(self, running: Running, amount: int, least: int) -> list[Hold]:
        sure = amount if self._options.crashed == "count" else 0
        return [
            Hold(purse, account.cap, amount, least, sure, keep_s) for account, purse, keep_s in running.purses
        ]

    async def _reserved(self, running: Running, holds: Sequence[Hold]) -> Reserved:
        try:
            return await self._keeper.budgets.reserve(running.holder, holds, self._options.lease_s)
        except StoreLost:
            raise Unavailable(
                "the store of the budgets cannot be asked", code="budget_store_lost", retry_after_s=1.0
            ) from None

    def _heard(self, running: Running, holds: Sequence[Hold], reserved: Reserved, *, held: bool) -> None:
        if held:
            self._keeper.holds(running.holder, holds)
        for (account, purse, _), spent in zip(running.purses, reserved.spent, strict=True):
            self._keeper.saw(account, purse, spent)

    def _exceeded(self, running: Running, reserved: Reserved, least: int, now: float) -> BudgetExceeded:
        """Say which budget has too little left, and until when."""
        short = running.purses[0][0]
        for (account, _, _), spent, held in zip(running.purses, reserved.spent, reserved.held, strict=True):
            if account.cap - spent - held < least:
                short = account
                break
        self._metrics.budget_refused.of(short.name).inc()
        window = short.window(now)
        return BudgetExceeded(
            f"the budget {short.name!r} ({window.id}) has too little left for this call",
            retry_after_s=None if window.id == "total" else window.ends_at - now,
        )

    async def _watched(self, running: Running, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        """Hand chunks on; hold more when they pass what is held, or cut the stream."""
        tokens = Tokens()
        async for chunk in chunks:
            yield chunk
            if tokens.count(chunk.raw) >= running.tokens and not _said_its_end(chunk.raw):
                # before the next is read: what was delivered is what was written
                await self._more(running)

    async def _more(self, running: Running) -> None:
        """Hold as much again.  Raises BudgetExceeded where there is too little."""
        bound, options = running.bound, self._options
        amount = bound.cost(0, options.answer_tokens * running.answers)
        least = bound.cost(0, options.least_tokens * running.answers)
        reserved = await self.reserve(running, amount, least)
        if not reserved.granted:
            error = self._exceeded(running, reserved, least, self._wall())
            self._metrics.budget_cut.of().inc()
            raise BudgetExceeded(
                f"the stream was cut: {error}", retry_after_s=error.retry_after_s, code=error.code
            )
        running.tokens += bound.answer_within(max(least, amount - reserved.cut), 0)

    async def again(self, call: Call) -> None:
        """Hold once more what earlier attempts of a call have used.  Raises BudgetExceeded."""
        running = self.running.get(call.id)
        if running is None:
            return
        used = self.cost(call.trail, running)
        amount = used - running.used
        if amount > 0:
            reserved = await self.reserve(running, amount, amount)
            if not reserved.granted:
                raise self._exceeded(running, reserved, amount, self._wall())
            running.used = used

    async def beside(self, call: Call) -> bool:
        """Hold once more what a call may cost, for an attempt beside another; False if there is too little.

        Raises Unavailable where the store is lost and nothing may be spent.
        """
        running = self.running.get(call.id)
        if running is None:
            return True
        amount = running.amount
        return (await self.reserve(running, amount, amount)).granted

    def cost(self, trail: Trail, running: Running) -> int:
        """Return what all attempts of a call cost so far."""
        bound = running.bound
        if trail.usage is None:
            return 0
        total, told = 0, False
        for each in trail.attempts:
            if each.usage is not None:
                told = True
                price = self._price_at(each.endpoint, each.model) or self._otherwise
                # a price that was there at first and is gone: the dearest of the call
                total += cost_micro_usd(running.told(each.usage), price or Price(bound.input, bound.output))
        if told:
            return total
        usage = running.told(trail.usage)
        return bound.cost(usage.prompt_tokens, usage.completion_tokens)


class Again:
    """Below retry: holds what an attempt has used beside what the next one may."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass the call on.  Raises BudgetExceeded."""
        return service(call) if call.trail.usage is None else self._again(call, service)

    async def _again(self, call: Call, service: Service) -> Reply:
        await self._budget.again(call)
        return await service(call)


def _said_its_end(raw: bytes) -> bool:
    return raw.endswith(b"data: [DONE]\n\n") or b"response.completed" in raw
