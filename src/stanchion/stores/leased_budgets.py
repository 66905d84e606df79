"""Budgets that outlive their store: while it cannot be asked, each replica keeps to its own share of what is left.

While the store answers, it decides, and what it says of each purse is remembered.  When it does not answer in time,
a replica may spend of each purse what was left when it last heard of it, divided by the replicas that were alive then;
of a purse that it never heard of, the cap divided by them.  So all together stay within the cap, and none spends
without a bound.  Or, if that is asked for, nothing is spent until the store is back.

A store that comes back is told first what was known of each purse, then what calls cost meanwhile and what they hold:
one that came back empty knows again what was spent.  The same where a purse says that it is new and should not be.

In its first second with the store a replica may be the only one that has beaten: where nobody told how many there are,
it reckons with ten until then.

Its weakness: a replica that starts while the store is away knows nothing of what was spent before, and if there are more
than ten of those and nobody said so, they may pass the cap.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from stanchion.core.clock import Clock
from stanchion.stores.budgets import Budgets, Charge, Hold, Lease, Reserved, Settlement, Sums
from stanchion.stores.memory_budgets import MemoryBudgets
from stanchion.stores.protocols import StoreLost
from stanchion.stores.replicas import Replicas

T = TypeVar("T")
_KNOWN_MOST = 10_000  # purses that are remembered, those that were asked for last
_OWED_MOST = 100_000  # settlements that wait for the store; the leases of others run out there
_TOGETHER_MOST = 200
_UNKNOWN = 10  # replicas, until they had time to beat: a tenth may be spent by each
_ANY = 2**52  # more than any cap: what is held already is held again


def _nothing() -> None:
    return


class LeasedBudgetsOptions(msgspec.Struct, frozen=True):
    """How long to wait for the store, and how often to ask whether it is there."""

    timeout_s: float = 2.0  # seconds; longer is lost
    beat_s: float = 1.0  # seconds
    dead_s: float = 5.0  # seconds without a beat after which a replica no longer counts
    replicas_least: int = 0  # replicas to reckon with before the first beat, and never fewer; 0: not known
    share: bool = True  # False: nothing is spent while the store is lost


class _Known(msgspec.Struct, gc=False):
    spent: int
    left: int
    born_at: float
    cap: int


class LeasedBudgets:
    """The budgets of one replica.  `run` keeps it among the living: whoever opens it runs that in a task group."""

    def __init__(
        self,
        remote: Budgets,
        member: str,
        group: str,
        *,
        clock: Clock,
        options: LeasedBudgetsOptions | None = None,
        on_lost: Callable[[], None] = _nothing,
        on_back: Callable[[], None] = _nothing,
    ) -> None:
        self._remote = remote
        self._member = member
        self._group = group
        self._clock = clock
        self.options = options or LeasedBudgetsOptions()
        self._on_lost = on_lost
        self._on_back = on_back
        self.lost = False
        self._replicas = Replicas(self.options.replicas_least or _UNKNOWN, self.options.beat_s)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._owed: deque[Settlement] = deque(maxlen=_OWED_MOST)
        self._local = MemoryBudgets(clock.reading)
        self._here: dict[str, list[Hold]] = {}  # by holder: what it holds of this replica's share
        self._spent_here: dict[str, int] = {}  # by purse, and the store was not told

    @property
    def replicas(self) -> int:
        """Say by how many what is left is divided while the store is lost."""
        return max(self._replicas.count, self.options.replicas_least)

    async def reserve(self, holder: str, holds: Sequence[Hold], ttl_s: float) -> Reserved:
        """Hold in the store, or of this replica's share.  Raises StoreLost where no share may be spent."""
        if not self.lost:
            try:
                answer = await self.soon(self._remote.reserve(holder, holds, ttl_s))
            except (StoreLost, TimeoutError):
                self.unheard(holder, holds)
            else:
                await self.heard(holds, answer)
                return answer
        if not self.options.share:
            raise StoreLost("the store of the budgets is lost, and nothing is spent meanwhile")
        mine = [msgspec.structs.replace(hold, cap=self._share(hold)) for hold in holds]
        answer = await self._local.reserve(holder, mine, ttl_s)
        if answer.granted:
            given = [
                msgspec.structs.replace(hold, amount=max(hold.least, hold.amount - answer.cut))
                for hold in holds
            ]
            self._here.setdefault(holder, []).extend(given)
        before = [self._known[each.purse].spent if each.purse in self._known else 0 for each in holds]
        spent = tuple([known + now for known, now in zip(before, answer.spent, strict=True)])
        return msgspec.structs.replace(answer, spent=spent)

    async def heard(self, holds: Sequence[Hold], answer: Reserved) -> None:
        """Follow what the store said; tells it what it has forgotten."""
        if self._follow(holds, answer):
            await self._teach(holds)

    def unheard(self, holder: str, holds: Sequence[Hold]) -> None:
        """Note that the store gave no answer: it is lost from now on, and what it may have held is not spent."""
        self._lose()
        self._owed.append(Settlement(holder, tuple([Charge(each.purse, 0) for each in holds])))

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Settle in the store, or remember until it is back.  Never raises StoreLost."""
        theirs: list[Settlement] = []
        for each in settlements:
            if self._here.pop(each.holder, None) is None:
                theirs.append(each)
                continue
            await self._local.settle([each])
            for charge in each.charges:
                self._spent_here[charge.purse] = self._spent_here.get(charge.purse, 0) + charge.amount
            # what it may hold there besides is no longer needed
            theirs.append(Settlement(each.holder, tuple([Charge(it.purse, 0) for it in each.charges])))
        if not self.lost:
            try:
                await self.soon(self._remote.settle(theirs))
            except (StoreLost, TimeoutError):
                self._lose()
            else:
                for each in theirs:
                    for charge in each.charges:
                        known = self._known.get(charge.purse)
                        if known is not None:
                            known.spent += charge.amount
                return
        self._owed.extend(theirs)

    async def renew(self, leases: Sequence[Lease], ttl_s: float) -> None:
        """Renew in the store and here.  Never raises StoreLost."""
        await self._local.renew(leases, ttl_s)
        if not self.lost:
            try:
                await self.soon(self._remote.renew(leases, ttl_s))
            except (StoreLost, TimeoutError):
                self._lose()

    async def spend(self, charges: Sequence[Charge], known: Sequence[Charge] = ()) -> None:
        """Ask the store itself; raises StoreLost where it cannot be asked."""
        await self._there(self._remote.spend(charges, known))

    async def spent(self, purses: Sequence[str]) -> Sequence[Sums]:
        """Ask the store itself; raises StoreLost where it cannot be asked."""
        return await self._there(self._remote.spent(purses))

    async def names(self, begins: str) -> Sequence[str]:
        """Ask the store itself; raises StoreLost where it cannot be asked."""
        return await self._there(self._remote.names(begins))

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        """Ask the store itself; raises StoreLost where it cannot be asked."""
        return await self._there(self._remote.beat(group, member, ttl_s))

    async def run(self) -> None:
        """Beat until cancelled; brings the store back when it answers again."""
        while True:
            await self.check()
            await asyncio.sleep(self.options.beat_s)

    async def check(self) -> None:
        """Beat once, and go over to the store, or away from it."""
        try:
            alive = await self.beat(self._group, self._member, self.options.dead_s)
            if self.lost:
                await self._rejoin()
            elif self._owed or self._spent_here:  # of calls that ended while the store came back
                await self._tell()
        except (StoreLost, TimeoutError):
            self._lose()
            return
        self._replicas.heard(self._clock.now(), alive, self.options.replicas_least)

    async def aclose(self) -> None:
        await self._remote.aclose()

    async def soon(self, asked: Awaitable[T]) -> T:
        """Wait for the store's answer.  Raises TimeoutError where it takes too long."""
        with self._clock.timeout_at(self._clock.now() + self.options.timeout_s):
            return await asked

    async def _there(self, asked: Awaitable[T]) -> T:
        try:
            return await self.soon(asked)
        except TimeoutError as error:
            raise StoreLost("the store gave no answer in time") from error

    def _follow(self, holds: Sequence[Hold], answer: Reserved) -> bool:
        """Remember what the store said; returns whether it has forgotten a purse."""
        forgot, known = False, self._known
        for hold, spent, held, born_at in zip(holds, answer.spent, answer.held, answer.born_at, strict=True):
            before = known.get(hold.purse)
            if before is None:
                if len(known) >= _KNOWN_MOST:
                    known.popitem(last=False)
                known[hold.purse] = _Known(spent, hold.cap - spent - held, born_at, hold.cap)
                continue
            if born_at > before.born_at:
                forgot = True
                before.spent = max(spent, before.spent)
            else:
                before.spent = spent
            before.left, before.born_at = hold.cap - before.spent - held, born_at
            known.move_to_end(hold.purse)
        return forgot

    async def _teach(self, holds: Sequence[Hold]) -> None:
        """Tell a store that has forgotten what was spent."""
        try:
            await self.soon(
                self._remote.spend((), [Charge(each.purse, self._known[each.purse].spent) for each in holds])
            )
        except (StoreLost, TimeoutError):
            self._lose()

    def _share(self, hold: Hold) -> int:
        """Return how much of a purse this replica may spend while the store is lost."""
        known = self._known.get(hold.purse)
        return max(0, hold.cap if known is None else known.left) // self.replicas

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self._on_lost()

    async def _rejoin(self) -> None:
        """Tell the store what happened meanwhile, then let it decide.  Raises StoreLost, TimeoutError."""
        known = [Charge(purse, each.spent) for purse, each in self._known.items()]
        for start in range(0, len(known), _TOGETHER_MOST):
            await self.soon(self._remote.spend((), known[start : start + _TOGETHER_MOST]))
        await self._tell()
        for holder in list(self._here):
            await self._bring(holder)
        purses = list(self._known)  # what others did meanwhile, should it be lost again
        for start in range(0, len(purses), _TOGETHER_MOST):
            some = purses[start : start + _TOGETHER_MOST]
            for purse, sums in zip(some, await self.soon(self._remote.spent(some)), strict=True):
                known_now = self._known[purse]
                known_now.spent, known_now.left = sums.spent, known_now.cap - sums.spent - sums.held
        self._local = MemoryBudgets(self._clock.reading)
        self._replicas.came_back(self._clock.now(), self.options.dead_s)
        self.lost = False
        self._on_back()

    async def _tell(self) -> None:
        """Tell the store what calls have cost.  Raises StoreLost, TimeoutError."""
        while self._owed:
            together = [self._owed[place] for place in range(min(len(self._owed), _TOGETHER_MOST))]
            await self.soon(self._remote.settle(together))
            for _ in together:
                self._owed.popleft()
        if self._spent_here:
            told = dict(self._spent_here)
            await self.soon(self._remote.spend([Charge(*each) for each in told.items()]))
            for purse, amount in told.items():
                self._spent_here[purse] -= amount
                if not self._spent_here[purse]:
                    del self._spent_here[purse]

    async def _bring(self, holder: str) -> None:
        """Hold in the store what a call holds here."""
        held = list(self._here.get(holder, ()))
        for hold in held:
            await self.soon(self._remote.reserve(holder, [msgspec.structs.replace(hold, cap=_ANY)], 60.0))
        if self._here.pop(holder, None) is None:  # it ended meanwhile: what it cost is told, nothing is held
            self._owed.append(Settlement(holder, tuple([Charge(hold.purse, 0) for hold in held])))
