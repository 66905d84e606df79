"""Limits that outlive their store: while it cannot be asked, each replica keeps to its own share.

While the store answers, it decides, and the local meters follow what it says.  When it does not answer in time,
the local ones go on from there: with `replicas` alive at the last beat, a cost counts that many times and a slot
has that part of its places, at least one.  So all replicas together stay within the limit, and none stands still.
A beat a second asks whether the store is back.  Before it decides again it is told what is known here, so that
one that came back empty does not hand out the whole quota afresh: meters become at least as deep as the local
ones, and the slots that calls hold here are entered.

Its weakness: a replica that has more to do than others cannot use their shares meanwhile.  And the shares are
those of the last beat: replicas that start while the store is away count themselves alone, or `replicas_least`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from stanchion.core.clock import Clock
from stanchion.stores.memory import MemoryLimits
from stanchion.stores.protocols import Change, Limits, Slot, StoreLost, Take, Taken
from stanchion.stores.replicas import Replicas

T = TypeVar("T")
_LOCAL_S = float(2**33)  # taken off `Taken.at` of the local clock, so that it is below 0 and known again
_OWED_MOST = 10_000  # slots to give back when the store is back; others expire there
_TOGETHER_MOST = 500  # meters told in one step
_ANY = 2**31 - 1  # places of a slot that is entered whether there is one or not


def _nothing() -> None:
    return


class LeasedOptions(msgspec.Struct, frozen=True):
    """How long to wait for the store, and how often to ask whether it is there."""

    timeout_s: float = 0.25  # seconds; longer is lost
    beat_s: float = 1.0  # seconds
    dead_s: float = 5.0  # seconds without a beat after which a replica no longer counts
    replicas_least: int = 0  # replicas to reckon with before the first beat, and never fewer; 0: not known


class LeasedLimits:
    """The limits of one replica.  `run` keeps it among the living: whoever opens it runs that in a task group."""

    def __init__(
        self,
        remote: Limits,
        local: MemoryLimits,
        member: str,
        group: str,
        *,
        clock: Clock,
        options: LeasedOptions | None = None,
        on_lost: Callable[[], None] = _nothing,
        on_back: Callable[[], None] = _nothing,
    ) -> None:
        self._remote = remote
        self._local = local
        self._member = member
        self._group = group
        self._clock = clock
        self._options = options or LeasedOptions()
        self._on_lost = on_lost
        self._on_back = on_back
        self.lost = False
        self._replicas = Replicas(self._options.replicas_least, 0.0)
        self._owed: deque[tuple[Sequence[str], str]] = deque(maxlen=_OWED_MOST)

    @property
    def replicas(self) -> int:
        """Say by how many the limits are divided while the store is lost."""
        return self._replicas.count

    async def take(self, takes: Sequence[Take], slots: Sequence[Slot], holder: str) -> Taken:
        """Take from the store, or from this replica's share of it.  Never raises StoreLost."""
        if not self.lost:
            try:
                taken = await self.soon(self._remote.take(takes, slots, holder))
            except (StoreLost, TimeoutError):
                self.unheard(slots, holder)
            else:
                self.heard(takes, slots, holder, taken, granted=taken.wait_s == 0.0)
                return taken
        share = self.replicas
        taken = await self._local.take(
            [Take(take.meter, take.cost_s * share, take.room_s) for take in takes],
            [Slot(slot.name, max(min(slot.most, 1), slot.most // share), slot.ttl_s) for slot in slots],
            holder,
        )
        return msgspec.structs.replace(taken, at=taken.at - _LOCAL_S)

    def heard(
        self, takes: Sequence[Take], slots: Sequence[Slot], holder: str, taken: Taken, *, granted: bool
    ) -> None:
        """Follow what the store said."""
        self._local.follow(takes, taken.depth_s)
        if granted:
            self._local.enter(slots, holder)

    def unheard(self, slots: Sequence[Slot], holder: str) -> None:
        """Note that the store gave no answer: it may have been done there, and is lost from now on."""
        self._lose()
        if slots:
            self._owed.append(([slot.name for slot in slots], holder))

    async def change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        """Tell the store, or remember until it is back.  Never raises StoreLost."""
        await self._local.change((), free, holder)
        if not self.lost:
            told = [_for_remote(change) for change in changes]
            try:
                await self.soon(self._remote.change(told, free, holder))
                return
            except (StoreLost, TimeoutError):
                self._lose()
        if free:
            self._owed.append((tuple(free), holder))
        await self._local.change([_for_local(change, self.replicas) for change in changes], (), holder)

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        """Ask the store itself; raises StoreLost where it cannot be asked."""
        try:
            return await self.soon(self._remote.beat(group, member, ttl_s))
        except TimeoutError as error:
            raise StoreLost("the store gave no answer in time") from error

    async def run(self) -> None:
        """Beat until cancelled; brings the store back when it answers again."""
        while True:
            await self.check()
            await asyncio.sleep(self._options.beat_s)

    async def check(self) -> None:
        """Beat once, and go over to the store, or away from it."""
        try:
            alive = await self.beat(self._group, self._member, self._options.dead_s)
            if self.lost:
                await self._rejoin()
        except (StoreLost, TimeoutError):
            self._lose()
            return
        self._replicas.heard(self._clock.now(), alive, self._options.replicas_least)

    async def aclose(self) -> None:
        await self._remote.aclose()

    async def soon(self, asked: Awaitable[T]) -> T:
        """Wait for the store's answer.  Raises TimeoutError where it takes too long."""
        with self._clock.timeout_at(self._clock.now() + self._options.timeout_s):
            return await asked

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self._on_lost()

    async def _rejoin(self) -> None:
        """Tell the store what happened meanwhile, then let it decide.  Raises StoreLost, TimeoutError."""
        await self._repay()  # first: who holds a slot again is entered below
        for holder, held in self._local.held().items():
            slots = [Slot(name, _ANY, left_s) for name, left_s in held]
            await self.soon(self._remote.take((), slots, holder))
        deep = self._local.depths()
        for start in range(0, len(deep), _TOGETHER_MOST):
            told = [Change(name, hold_s=depth_s) for name, depth_s in deep[start : start + _TOGETHER_MOST]]
            await self.soon(self._remote.change(told, (), self._member))
        await (
            self._repay()
        )  # what calls that ended meanwhile owe.  From here on nothing is waited for: none is missed
        self._replicas.came_back(self._clock.now(), self._options.dead_s)
        self.lost = False
        self._on_back()

    async def _repay(self) -> None:
        """Give back to the store all slots that are owed to it.  Raises StoreLost, TimeoutError."""
        while self._owed:
            names, holder = owed = self._owed.popleft()  # at once: a full queue drops its first
            try:
                await self.soon(self._remote.change((), names, holder))
            except BaseException:
                self._owed.appendleft(owed)
                raise


def _for_remote(change: Change) -> Change:
    """A word about a call that the store knows nothing of does not compare with its sums."""
    if change.seen is not None and change.seen.at < 0:
        return msgspec.structs.replace(change, seen=None)
    return change


def _for_local(change: Change, replicas: int) -> Change:
    seen = change.seen
    if seen is not None:
        seen = msgspec.structs.replace(seen, at=seen.at + _LOCAL_S) if seen.at < 0 else None
    return Change(change.meter, change.cost_s * replicas, seen, change.hold_s)
