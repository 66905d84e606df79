"""What one call must be given before it is sent, and has not asked for yet: limits, slots and money.

Several policies want something of the same store for the same call: those of the callers' limits, of the budgets,
and of the provider's quota.  The upper two only write down here what they want, as an option of the call; the lowest,
which is reached without waiting where nobody stands in line, asks for all of it in one step, and so a call waits for
the store once.  Who lets a call wait before that, in a line, asks for what is written down first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stanchion.core.call import Call
from stanchion.core.errors import StanchionError, Unavailable
from stanchion.stores.admission import Admissions, Admitted, Money, Part
from stanchion.stores.protocols import StoreLost, Taken

NOTHING = Part((), ())
Refused = Callable[[Taken], StanchionError]  # says which limit has no room
Funded = Callable[
    [Admitted], None
]  # told what became of the money and of all else; raises where money was refused
Bounded = Callable[
    [Call], Call
]  # bounds the call to the money that it was given; doing it twice does no more


class Dues:
    """The dues of one call.  Mutable: each try of a call has the same."""

    __slots__ = ("_admissions", "_bounded", "_funded", "_money", "_one", "_part", "_refused", "paid")

    def __init__(self, admissions: Admissions) -> None:
        self._admissions = admissions
        self._part = NOTHING
        self._refused: Refused | None = None
        self._money: Money | None = None
        self._funded: Funded | None = None
        self._bounded: Bounded | None = None
        self._one = asyncio.Lock()  # two tries at the same time pay once
        self.paid = False  # all of it was given

    def limits(self, part: Part, refused: Refused) -> None:
        """Write down limits and slots; `refused` makes the error if they have no room."""
        self._part, self._refused = part, refused

    def money(self, money: Money, funded: Funded, bounded: Bounded) -> None:
        """Write down money."""
        self._money, self._funded, self._bounded = money, funded, bounded

    async def pay(self, call: Call, more: Part | None = None) -> tuple[Call, Taken | None]:
        """Ask for all that is written down, and for `more`; returns the call as it may be sent, and what became of it.

        That is None where another try has paid before: `more` was not asked for then.  Where `more` alone has no room
        nothing is taken and the dues stay.  Raises what the policies make of it.  The wait is bounded by the store's.
        """
        taken = None
        if not self.paid:
            async with self._one:
                if not self.paid:
                    taken = await self._pay(call, more)
        return call if self._bounded is None else self._bounded(call), taken

    async def _pay(self, call: Call, more: Part | None) -> Taken | None:
        parts = (self._part,) if more is None else (self._part, more)
        try:
            admitted = await self._admissions.admit(parts, self._money, call.id)
        except StoreLost:
            raise Unavailable(
                "the store of the budgets cannot be asked", code="budget_store_lost", retry_after_s=1.0
            ) from None
        if admitted.parts[0].wait_s and self._refused is not None:
            raise self._refused(admitted.parts[0])
        if self._funded is not None:
            self._funded(admitted)
        self.paid = admitted.granted
        return None if more is None else admitted.parts[1]


def dues_of(call: Call) -> Dues | None:
    """Return the dues of a call, paid or not; None where it has none."""
    dues: Dues | None = call.options.get(Dues)
    return dues


async def paid(call: Call) -> Call:
    """Return the call as it may be sent, with its dues paid.  Raises what the policies make of a refusal."""
    dues = dues_of(call)
    return call if dues is None else (await dues.pay(call))[0]
