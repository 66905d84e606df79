"""What a call asks of limits and budgets in one step while their store answers, and of its share while it does not.

Where money is asked too, what is waited for is what money waits for: its timeout is the longer one.  A store that does
not answer is lost for both, and each comes back by its own beat.
"""

from __future__ import annotations

from collections.abc import Sequence

from stanchion.stores.admission import Admissions, Admitted, Apart, Money, Part
from stanchion.stores.leased import LeasedLimits
from stanchion.stores.leased_budgets import LeasedBudgets
from stanchion.stores.protocols import StoreLost


class LeasedAdmissions:
    """The admissions of one replica."""

    def __init__(self, remote: Admissions, limits: LeasedLimits) -> None:
        self._remote = remote
        self._limits = limits
        self._budgets: LeasedBudgets | None = None

    def use(self, budgets: LeasedBudgets) -> LeasedAdmissions:
        """Ask for money too: `budgets` are those of the same store."""
        self._budgets = budgets
        return self

    async def admit(self, parts: Sequence[Part], money: Money | None, holder: str) -> Admitted:
        """Take from the store, or from this replica's share.  Raises StoreLost where no share may be spent."""
        limits, budgets = self._limits, self._budgets if money is not None else None
        if limits.lost or (budgets is not None and budgets.lost):
            return await Apart(limits, budgets).admit(parts, money, holder)
        soon = limits.soon if budgets is None else budgets.soon
        try:
            admitted = await soon(self._remote.admit(parts, money, holder))
        except (StoreLost, TimeoutError):
            for part in parts:
                limits.unheard(part.slots, holder)
            if budgets is not None and money is not None:
                budgets.unheard(holder, money.holds)
            return await Apart(limits, budgets).admit(parts, money, holder)
        for part, taken in zip(parts, admitted.parts, strict=True):
            limits.heard(part.takes, part.slots, holder, taken, granted=admitted.granted)
        if budgets is not None and money is not None and admitted.money is not None:
            await budgets.heard(money.holds, admitted.money)
        return admitted
