"""The cap of a job that several workers share: each leases slices of the money from a store, and spends from those.

A worker holds a slice in the job's purse (`stores/budgets.py`) before it may spend of it, so all of them together
never pass the cap.  A slice that is used up is settled; one that is not, when the worker ends, or when it has nothing
in flight and another could use what it holds.  What a worker had leased that died counts as spent until the job is
run again: nobody knows which of its calls were billed.

A store that comes back without the purse, or with less in it than was there, would give the money out once more: a
worker that sees it leases nothing more, and its run ends after what is in flight, with an error.  The next run begins
with what the journals say was spent.  Weakness: where a store came back with an older purse, a worker whose own leases
are all in it sees nothing until another one has seen it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from stanchion.batch.answers import Answer
from stanchion.batch.cap import Cap
from stanchion.batch.lanes.lane import Item
from stanchion.core.clock import Clock
from stanchion.core.errors import StanchionError
from stanchion.engine.model_facts import ModelFacts
from stanchion.stores.budgets import Budgets, Charge, Hold, Lease, Reserved, Settlement
from stanchion.stores.protocols import StoreLost

_LEASE_S = (
    120.0  # seconds a slice is held that nobody renews: then its worker has died, and it counts as spent
)
_RENEW_S = 30.0
_PURSE_S = 7 * 86400.0  # seconds a purse is remembered that nobody asks any more
_ANSWER_S = 5.0  # seconds that the store may take
_AGAIN_S = 0.5  # seconds between two questions, where others hold what is left
_LOST_S = 300.0  # seconds without the store, after which a worker gives up


class Purse(msgspec.Struct, frozen=True):
    """The money of one run of a job."""

    name: str
    cap: int  # micro-dollars
    slice: int  # leased at once
    born_at: float | None = None  # by the store's clock; another time: the store has forgotten it meanwhile


async def opened(purse: Purse, store: Budgets) -> Purse:
    """Have a purse in the store before anybody leases of it.  Raises StoreLost."""
    nothing = Hold(purse.name, purse.cap, 0, 0, keep_s=_PURSE_S)
    reserved = await store.reserve(f"{purse.name}/begin", [nothing], _LEASE_S)
    return msgspec.structs.replace(purse, born_at=reserved.born_at[0])


class LeasedCap(Cap):
    """A `Cap` over a purse.  `run` leases, in a task; `aclose` gives back what is left."""

    def __init__(
        self,
        purse: Purse,
        store: Budgets,
        clock: Clock,
        facts: Callable[[str], ModelFacts],
        *,
        answer_tokens: int = 4096,
    ) -> None:
        super().__init__(0, facts, answer_tokens=answer_tokens)
        self._purse = purse
        self._store = store
        self._clock = clock
        self._slices: deque[tuple[str, int]] = deque()  # holders and what each holds, the oldest first
        self._settled = 0  # of `spent`
        self._lacking = 0  # what an item needs beyond what is left here
        self._asked = asyncio.Event()
        self._over = (
            False  # nobody holds anything, and what is left is not enough; or the store cannot be trusted
        )
        self.error: StanchionError | None = None  # why nothing more is leased, though there may be something
        self._unheard: list[str] = []  # holders of whom nobody knows whether they hold anything

    @property
    def waits(self) -> bool:
        """Whether the store may still give something."""
        return not self._over

    def begin(self, spent_micro_usd: int) -> None:
        """Pass over what was spent before: the purse is what was left of the job's cap."""

    def admit(self, item: Item) -> bool:
        """Hold what a try can cost, if as much is left of what is leased; else lease more."""
        admitted = super().admit(item)
        if not admitted:
            self._lacking = max(self._lacking, self.cost_most(item.request) - self.left)
        if not admitted or self.left < self._purse.slice // 2:
            self._asked.set()
        return admitted

    def settle(self, item: Item, answer: Answer | None) -> None:
        """A try is over."""
        super().settle(item, answer)
        if self._slices and self.spent - self._settled >= self._slices[0][1]:
            self._asked.set()

    async def run(self) -> None:
        """Lease what is needed, until cancelled, or until the store is lost for good: then `error` says so."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew())
                group.create_task(self._lease_more())
        except* StanchionError as errors:
            first = errors.exceptions[0]
            assert isinstance(first, StanchionError)  # noqa: S101 - the loops above have no groups of their own
            self.error, self._over = first, True  # what is in flight ends, and is recorded

    async def _renew(self) -> None:
        """Hold what is leased; a lease that ran out all the same is settled by the truth, for an hour."""
        while True:
            await asyncio.sleep(_RENEW_S)
            leases = [Lease(holder, (self._purse.name,)) for holder, _ in self._slices]
            if leases:
                await self._ask(partial(self._store.renew, leases, _LEASE_S))

    async def _lease_more(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self._over:
                continue
            await self._settle_used()
            lacking, self._lacking = self._lacking, 0
            if (lacking or self.left < self._purse.slice // 2) and not await self._lease(lacking) and lacking:
                await self._wait_for_others(lacking)

    async def aclose(self) -> None:
        """Give back what is not spent, and close the store.  What is in flight and given up counts as spent."""
        try:
            self.spent += self.held
            await self._give_back()
        except StanchionError:
            pass  # what is held there runs out by itself
        finally:
            await self._store.aclose()

    async def _lease(self, lacking: int) -> bool:
        """Hold one more slice; say whether that succeeded."""
        purse, holder = self._purse, f"{self._purse.name}/{os.urandom(8).hex()}"
        amount = max(purse.slice, lacking)
        hold = Hold(purse.name, purse.cap, amount, max(lacking, 1), sure=amount, keep_s=_PURSE_S)
        self._unheard.append(holder)
        reserved = await self._ask(lambda: self._store.reserve(holder, [hold], _LEASE_S))
        self._unheard.remove(holder)
        await self._check(reserved, amount - reserved.cut if reserved.granted else 0)
        if reserved.granted:
            self.most += amount - reserved.cut
            self._slices.append((holder, amount - reserved.cut))
        return reserved.granted

    async def _check(self, reserved: Reserved, leased: int) -> None:
        """See that the purse is the one that was opened, and lacks nothing.  Raises StanchionError."""
        purse, spent, held = self._purse, reserved.spent[0], reserved.held[0]
        own = self._settled + sum(amount for _, amount in self._slices) + leased
        born = purse.born_at in (None, reserved.born_at[0])
        if born and spent + held >= own:
            return
        await self._ask(lambda: self._store.spend([Charge(purse.name, purse.cap)]))  # nobody leases any more
        raise StanchionError(
            "the store of the job's money lost what it knew while the job ran, so nothing more is spent: "
            "run the same command again, which goes on with what is left of the money"
        )

    async def _wait_for_others(self, lacking: int) -> None:
        """What is left is not enough: give back what others may need, and see whether they give back something."""
        if self.held:  # calls in flight will give back first
            await asyncio.sleep(_AGAIN_S)
            return
        needed = lacking + self.left
        await self._give_back()
        while not self._over and not await self._lease(needed):
            sums = await self._ask(lambda: self._store.spent([self._purse.name]))
            self._over = sums[0].held == 0
            if not self._over:
                await asyncio.sleep(_AGAIN_S)

    async def _settle_used(self) -> None:
        """Settle slices that are spent to the end."""
        while self._slices and self.spent - self._settled >= self._slices[0][1]:
            holder, amount = self._slices.popleft()
            self._settled += amount
            await self._tell([(holder, amount)])

    async def _give_back(self) -> None:
        """Settle all slices with what was spent of them."""
        told: list[tuple[str, int]] = []
        while self._slices:
            holder, amount = self._slices.popleft()
            used = min(amount, self.spent - self._settled)
            self._settled += used
            told.append((holder, used))
        self.most = self._settled
        await self._tell(told)

    async def _tell(self, used: Sequence[tuple[str, int]]) -> None:
        name = self._purse.name
        unheard, self._unheard = self._unheard, []
        told = [*used, *((holder, 0) for holder in unheard)]
        if told:
            settlements = [Settlement(holder, (Charge(name, amount),)) for holder, amount in told]
            await self._ask(lambda: self._store.settle(settlements))

    async def _ask(self, question: Callable[[], Any]) -> Any:
        """Ask the store until it answers.  Raises StanchionError when it did not for too long."""
        give_up_at = self._clock.now() + _LOST_S
        while True:
            try:
                with self._clock.timeout_at(self._clock.now() + _ANSWER_S):
                    return await question()
            except (StoreLost, TimeoutError):
                if self._clock.now() > give_up_at:
                    raise StanchionError(
                        f"the store of the job's money gave no answer for {_LOST_S:.0f} s: start it again, and run "
                        "the same command again"
                    ) from None
                await asyncio.sleep(_AGAIN_S)
