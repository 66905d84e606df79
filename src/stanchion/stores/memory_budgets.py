"""Budgets of one process, in memory.  The reference for the other backends: no step awaits anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from stanchion.stores.budgets import LATE_S, NAMES_MOST, Charge, Hold, Lease, Reserved, Settlement, Sums

_SWEEP_FROM = 1024  # purses; fewer are not worth sweeping


class _Held:
    __slots__ = ("amount", "dead", "sure", "until")

    def __init__(self, amount: int, sure: int, until: float) -> None:
        self.amount = amount
        self.sure = sure
        self.until = until
        self.dead = False  # the lease ran out, and `sure` was counted


class Purse:
    """One purse.  `look_at` is never later than the first lease that runs out, so most steps look at none."""

    __slots__ = ("born_at", "held", "holders", "keep_until", "look_at", "spent")

    def __init__(self, now: float) -> None:
        self.born_at = now
        self.spent = 0
        self.held = 0
        self.holders: dict[str, _Held] = {}
        self.look_at = math.inf
        self.keep_until = math.inf

    def sweep(self, now: float) -> None:
        """End the leases that ran out."""
        for holder, each in list(self.holders.items()):
            if each.until > now:
                continue
            if each.dead:
                del self.holders[holder]
                continue
            self.held -= each.amount
            self.spent += each.sure
            each.dead, each.amount, each.until = True, 0, now + LATE_S
        self.look_at = min((each.until for each in self.holders.values()), default=math.inf)

    def hold(self, holder: str, amount: int, sure: int, until: float) -> None:
        known = self.holders.get(holder)
        if known is None:
            self.holders[holder] = _Held(amount, sure, until)
        else:
            if known.dead:  # it lives after all
                self.spent -= known.sure
                known.dead, known.sure = False, 0
            known.amount += amount
            known.sure += sure
            known.until = until
        self.held += amount
        if until < self.look_at:
            self.look_at = until

    def settle(self, holder: str, amount: int) -> None:
        known = self.holders.pop(holder, None)
        if known is not None:
            self.held -= known.amount
            self.spent += amount - known.sure if known.dead else amount

    def settle_here(self, held: int, cost: int) -> None:
        """Spend `cost` in the place of what `hold_here` held."""
        self.held -= held
        self.spent += cost


class MemoryBudgets:
    """Budgets of one process.  `now` is a clock in seconds, such as the event loop's `time`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._purses: dict[str, Purse] = {}
        self._groups: dict[str, dict[str, float]] = {}
        self._sweep_at = _SWEEP_FROM

    async def reserve(self, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
        return self.reserve_now(holder, holds, ttl_s)

    def reserve_now(self, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
        """As `reserve`, for those who cannot wait: it never does."""
        now = self._now()
        if len(holds) == 1:  # nearly always: nothing to compare with
            return self._reserve_one(holder, holds[0], ttl_s, now)
        purses: list[Purse] = []
        granted, cut = True, 0
        for hold in holds:
            purse = self._purse(hold.purse, now)
            purses.append(purse)
            left = hold.cap - purse.spent - purse.held
            if left < hold.amount:
                granted = granted and left >= hold.least
                cut = max(cut, hold.amount - left)
        if granted:
            until = now + ttl_s
            for hold, purse in zip(holds, purses, strict=True):
                amount = max(hold.least, hold.amount - cut) if cut else hold.amount
                sure = hold.sure
                purse.hold(holder, amount, sure if sure < amount else amount, until)
                purse.keep_until = now + hold.keep_s if hold.keep_s else math.inf
        return Reserved(
            granted,
            cut if granted else 0,
            tuple([each.spent for each in purses]),
            tuple([each.held for each in purses]),
            tuple([each.born_at for each in purses]),
        )

    def _reserve_one(self, holder: str, hold: Hold, ttl_s: float, now: float) -> Reserved:
        purse = self._purse(hold.purse, now)
        amount = hold.amount
        left, cut = hold.cap - purse.spent - purse.held, 0
        if left < amount:
            if left < hold.least:
                return Reserved(False, 0, (purse.spent,), (purse.held,), (purse.born_at,))  # noqa: FBT003
            amount, cut = left, amount - left
        purse.hold(holder, amount, hold.sure if hold.sure < amount else amount, now + ttl_s)
        purse.keep_until = now + hold.keep_s if hold.keep_s else math.inf
        return Reserved(True, cut, (purse.spent,), (purse.held,), (purse.born_at,))  # noqa: FBT003

    def hold_here(self, name: str, cap: int, amount: int, keep_s: float) -> Purse | None:
        """Hold so much without a lease, and return the purse, which is told the end; None: there is less left.

        For those whose calls cannot outlive this store: no holder is written down, and nothing must be renewed.
        """
        now, purse = self._now(), self._purses.get(name)
        if purse is None or now >= purse.keep_until or now >= purse.look_at:
            purse = self._purse(name, now)
        held = purse.held + amount
        if purse.spent + held > cap:
            return None
        purse.held = held
        purse.keep_until = now + keep_s if keep_s else math.inf
        return purse

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        for each in settlements:
            for charge in each.charges:
                self.settle_now(each.holder, charge.purse, charge.amount)

    def settle_now(self, holder: str, purse: str, amount: int) -> None:
        """Settle one purse of a holder, for those who cannot wait: it never does."""
        self._purse(purse, self._now()).settle(holder, amount)

    async def renew(self, leases: Sequence[Lease], ttl_s: float) -> None:
        now = self._now()
        for lease in leases:
            for name in lease.purses:
                known = self._purse(name, now).holders.get(lease.holder)
                if known is not None and not known.dead:
                    known.until = now + ttl_s

    async def spend(self, charges: Sequence[Charge], known: Sequence[Charge] = ()) -> None:
        now = self._now()
        for each in known:
            purse = self._purse(each.purse, now)
            purse.spent = max(purse.spent, each.amount)
        for each in charges:
            self._purse(each.purse, now).spent += each.amount

    async def spent(self, purses: Sequence[str]) -> Sequence[Sums]:
        now = self._now()
        return [Sums(each.spent, each.held) for each in [self._purse(name, now) for name in purses]]

    async def names(self, begins: str) -> Sequence[str]:
        now = self._now()
        known = [name for name, it in self._purses.items() if it.keep_until > now and name.startswith(begins)]
        return sorted(known)[:NAMES_MOST]

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        now = self._now()
        members = {each: until for each, until in self._groups.get(group, {}).items() if until > now}
        members[member] = now + ttl_s
        self._groups[group] = members
        return len(members)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _purse(self, name: str, now: float) -> Purse:
        purse = self._purses.get(name)
        if purse is None or purse.keep_until <= now:
            if len(self._purses) >= self._sweep_at:
                self._purses = {each: it for each, it in self._purses.items() if it.keep_until > now}
                self._sweep_at = max(_SWEEP_FROM, 2 * len(self._purses))
            purse = self._purses[name] = Purse(now)
        if now >= purse.look_at:
            purse.sweep(now)
        return purse
