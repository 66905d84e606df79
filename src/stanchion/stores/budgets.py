"""Budgets of money: what is spent, and what is held for calls that are on their way.  One atomic step each.

A *purse* is one budget in one window of time, such as `team 2026-11`.  Amounts are whole micro-dollars.  A
*holder* is one call.  What it holds is a lease: settled by what the call really cost, or over by itself, by the
store's own clock.  What a lease that ran out counts for is said when it is taken (`sure`), and a late settlement
still puts the truth in its place.  A backend that cannot be asked raises StoreLost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

NAMES_MOST = 1000  # purses that are named at once
LATE_S = 3600.0  # so long after its lease ran out a holder may still settle


class Hold(msgspec.Struct, frozen=True, gc=False):
    """So much wanted of a purse.  None of the amounts is negative."""

    purse: str
    cap: int
    amount: int
    least: int  # less than this is of no use; as `amount` where nothing may be cut off
    sure: int = 0  # what is counted as spent when the lease runs out, at most what is held
    keep_s: float = 0.0  # how long the purse is remembered from now on; 0 is for ever


class Reserved(msgspec.Struct, frozen=True, gc=False):
    """What became of it: all purses gave, or none did."""

    granted: bool
    cut: int  # so much less than wanted was given, of each hold down to its `least`
    spent: tuple[int, ...]  # of each purse, now
    held: tuple[int, ...]  # of each purse, now, this included
    born_at: tuple[float, ...]  # since when each purse is known: later than before means it was forgotten


class Charge(msgspec.Struct, frozen=True, gc=False):
    """So much of a purse."""

    purse: str
    amount: int


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """What a call really cost, for every purse of which it holds something."""

    holder: str
    charges: tuple[Charge, ...]


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A holder with its purses."""

    holder: str
    purses: tuple[str, ...]


class Sums(msgspec.Struct, frozen=True, gc=False):
    """What is known of a purse."""

    spent: int
    held: int


class Budgets(Protocol):
    """Purses, shared by all who open the same store."""

    async def reserve(self, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
        """Hold all of it for `holder`, or nothing; what it has already is kept beside, and its lease renewed.

        Where a purse has less than `amount` and at least `least`, every hold is cut by the same.  Names each
        purse once.  If the caller is cancelled meanwhile, what was taken is given back.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Put what was spent in the place of what was held.  A holder that is not known is passed over."""
        ...

    async def renew(self, leases: Sequence[Lease], ttl_s: float) -> None:
        """Let leases that did not run out run so long from now."""
        ...

    async def spend(self, charges: Sequence[Charge], known: Sequence[Charge] = ()) -> None:
        """Spend without a hold.  Before that, purses have at least spent what is `known` of them."""
        ...

    async def spent(self, purses: Sequence[str]) -> Sequence[Sums]:
        """Read what is spent and held."""
        ...

    async def names(self, begins: str) -> Sequence[str]:
        """Name the purses that are known and begin so, ordered; at most NAMES_MOST."""
        ...

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        """Note that `member` is alive for so long; returns how many of its group are, itself included."""
        ...

    async def aclose(self) -> None: ...
