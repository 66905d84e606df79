"""One endpoint's limits in the store that several processes share: what is taken there, and what they are told."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import NotYet
from stanchion.policies.rate_limit.options import SharedLimits
from stanchion.rules.gauge import Gauge, Mark, News
from stanchion.rules.quota import Mirror, Ticket
from stanchion.stores.admission import Part
from stanchion.stores.dues import dues_of, paid
from stanchion.stores.protocols import Change, Seen, Slot, Take, Taken

_CEILING_ROOM = 0.1  # of the window: of a ceiling in a store, so that no window sees more than the limit
_CEILING_COST = 1.0 + _CEILING_ROOM
_SLOT_MOST_S = 3600.0  # a process that died holds its slots no longer, nor than its calls could live
_SLOT_MORE_S = 5.0  # beyond the call's deadline
# between two looks for a slot, each twice as long: one that another process gives back wakes nobody here, and
# one of our own may still be on its way to the store
_SLOT_AGAIN_S = 0.01
_SLOT_AGAIN_MOST_S = 0.25
_AGAIN_S = 0.01  # after others were faster: what they booked is known now


class Together:
    """The part of a limiter that others see."""

    def __init__(self, endpoint: str, shared: SharedLimits, clock: Clock, *, open_most: int) -> None:
        self._endpoint = endpoint
        self._shared = shared
        self._clock = clock
        self._open_most = open_most
        self._slot = f"{endpoint} open"
        self._holders = itertools.count()
        self._again_s = _SLOT_AGAIN_S
        self.news: list[News] = []  # where the mirror puts what others must know

    async def take(self, mirror: Mirror, ticket: Ticket, call: Call) -> tuple[str, Call]:
        """Book in the store what was booked here, take a slot, and pay the call's dues, all in one step.

        Returns who holds the slot, and the call as it may be sent.  Raises NotYet if others left no room, and what
        the dues raise; what was booked here is given back then, and on a cancel.
        """
        marks, slots = mirror.shared(ticket), self._slots(call)
        try:
            if not marks and not slots:
                return "", await paid(call)
            call, holder, taken = await self._ask(call, Part([self._take(mark) for mark in marks], slots))
        except BaseException:
            mirror.unsent(ticket)
            raise
        if taken.wait_s > 0:
            mirror.unsent(ticket)
        now = self._clock.now()
        for mark, depth_s, booked_s in zip(marks, taken.depth_s, taken.booked_s, strict=True):
            if mark.gauge.ours:
                mark.store_at = taken.at  # so that it is given back there too
            else:
                mark.gauge.booked_in_store(now, mark, taken.at, booked_s, depth_s)
        if taken.wait_s == 0:
            self._again_s = _SLOT_AGAIN_S
            return holder, call
        if not slots:
            raise NotYet(_wait_s(marks, now, taken.wait_s))
        again_s, self._again_s = self._again_s, min(2 * self._again_s, _SLOT_AGAIN_MOST_S)
        raise NotYet(min(taken.wait_s, again_s), firm=False)  # a slot of our own may come back earlier

    async def _ask(self, call: Call, part: Part) -> tuple[Call, str, Taken]:
        dues = dues_of(call)
        if dues is not None:
            call, taken = await dues.pay(call, part)
            if taken is not None:
                return call, call.id, taken
        # a holder is one try of a call: its slot may be given back after the next try began
        holder = f"{call.id}.{next(self._holders)}"
        return call, holder, await self._shared.limits.take(part.takes, part.slots, holder)

    def left(self, holder: str) -> None:
        """Give the slot back that a try held."""
        if self._open_most and holder:
            self._shared.free(self._slot, holder)

    def tell(self) -> None:
        """Pass the news on."""
        if self.news:
            news, self.news[:] = list(self.news), []
            self._shared.later([self._change(each) for each in news])

    def _slots(self, call: Call) -> Sequence[Slot]:
        if not self._open_most:
            return ()
        life_s = min(call.deadline - self._clock.now(), _SLOT_MOST_S)
        return (Slot(self._slot, self._open_most, max(life_s, 0.0) + _SLOT_MORE_S),)

    def _take(self, mark: Mark) -> Take:
        gauge = mark.gauge
        if gauge.ours:
            return Take(self._meter(gauge), mark.cost_s * _CEILING_COST, gauge.window_s * _CEILING_ROOM)
        return Take(self._meter(gauge), mark.cost_s, mark.room_s)

    def _change(self, news: News) -> Change:
        cost_s = news.cost_s * (_CEILING_COST if news.gauge.ours else 1.0)
        return Change(self._meter(news.gauge), cost_s, Seen(*news.seen) if news.seen is not None else None)

    def _meter(self, gauge: Gauge) -> str:
        return f"{self._endpoint} {gauge.kind}/{gauge.window_s:g}{' ceiling' if gauge.ours else ''}"


def _wait_s(marks: Sequence[Mark], now: float, told_s: float) -> float:
    """Say when to ask the store again, which had no room for these.

    It was asked with room for what others had booked as far as was known here.  What they booked since was the
    reason, and is known now: our own share of the room is what it was, so it need not be waited for until theirs
    has come back.  A ceiling is the same for all: there the store is right.
    """
    if any(mark.gauge.ours for mark in marks):
        return told_s
    known_s = max(mark.gauge.wait_s(now, mark.amount) for mark in marks)
    return min(told_s, max(known_s, _AGAIN_S))
