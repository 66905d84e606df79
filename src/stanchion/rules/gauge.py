"""One limit of a provider, mirrored, with what was learned of how it is enforced.

**How deep one may go** is learned (`rules/burst.py`).

**How it counts.**  A bucket gives back steadily what was used; a limiter that counts a sliding window gives it
back a window later.  Both are mirrored from our own bookings, and what the headers say fits one of them
(`rules/likeness.py`); or the words of a refusal decide, which name a longer wait than a bucket's.

**What is still to come.**  Output is debited at the provider a moment before we know of it.  So the room is
smaller by what the open calls will probably use (their number times a moving average), by half at most.
"""

from __future__ import annotations

import msgspec

from stanchion.core.rates import Kind, RateRefusal
from stanchion.rules.burst import FIRST_S, Burst
from stanchion.rules.likeness import ENOUGH, Likeness
from stanchion.rules.meter import Meter
from stanchion.rules.window_log import WindowLog

_GAIN = 0.3  # of the way to what an answer's headers said; see Meter.heard
_SMOOTH = 0.1  # weight of the newest answer in the average of what one uses afterwards
_LONGER_S = 1.0  # a told wait that much longer than a bucket's is no bucket's


class Mark(msgspec.Struct, gc=False):
    """What one call took of one gauge, and how that stood then."""

    gauge: Gauge
    at: float
    amount: float
    cost_s: float
    room_s: float  # how deep was allowed
    edge: bool  # it went as deep as was allowed
    depth_s: float  # after it
    booked_s: float  # with it
    used: float  # of the sliding window, with it
    alone_s: float  # the depth that our own bookings alone would make
    store_at: float | None = None  # when it was booked in a store, by that store's clock
    store_booked_s: float = 0.0  # all that was ever booked there, with it


class News(msgspec.Struct, gc=False):
    """What others who keep the same limit must know: something booked, or what the provider said."""

    gauge: Gauge
    cost_s: float = 0.0  # negative: given back
    seen: tuple[float, float, float, float] | None = None  # for Meter.heard, on the store's clock


class Gauge:
    """Mutable; `now` is given in, in seconds of one clock.  Amounts are requests or tokens."""

    __slots__ = (
        "_alone",
        "_before_s",
        "_burst",
        "_debit",
        "_likeness",
        "_limit",
        "_log",
        "_not_before",
        "_open",
        "_room_s",
        "_seen",
        "_unit_s",
        "_unseen",
        "kind",
        "meter",
        "news",
        "ours",
        "sliding",
        "window_s",
    )

    def __init__(
        self,
        kind: Kind,
        window_s: float,
        limit: float,
        *,
        now: float,
        log: WindowLog | None = None,
        ours: bool = False,
        first_s: float = FIRST_S,
    ) -> None:
        self.kind: Kind = kind
        self.window_s = window_s
        self._likeness = Likeness(window_s)
        self.limit = limit
        self.ours = ours  # a ceiling of our own: never exceeded in any window, never learned
        self.sliding = ours
        self.news: list[News] | None = None  # where others share it
        self.meter = Meter(born_at=now)
        self._alone = Meter(born_at=now)
        self._before_s = 0.0  # sent before this limit was known
        if log is not None:
            self._before_s = self.cost_s(log.used(now))
            self._alone.book(now, self._before_s)
        self._log = log or WindowLog(window_s)
        self._burst = Burst(window_s, now, first_s)
        self._room_s = 0.0  # as it was when it was last asked for
        self._not_before = now  # so the provider said
        self._open = 0
        self._debit = 0.0  # used by one answer after it was let in; a moving average
        self._seen, self._unseen = 0, 0.0  # answers in a row that saw what we did not, and the least of it

    @property
    def limit(self) -> float:
        """The amount of one window."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._limit = limit
        self._likeness.limit = limit
        self._unit_s = self.window_s / limit

    def cost_s(self, amount: float) -> float:
        """Say for how many seconds of refill an amount stands."""
        return amount * self._unit_s

    def room_s(self, now: float, cost_s: float = 0.0) -> float:
        """Say how deep the bucket may be after a call of that cost."""
        room = self._burst.room_s(now)
        ours_full_at = self._alone.full_at
        others = self.meter.full_at - (now if now > ours_full_at else ours_full_at)
        if others > 0:  # what others used, or we before we began, is no burst of ours
            if cost_s > room and ours_full_at <= now:
                room = cost_s  # one that is larger passes when nothing of ours is left
            room += others
        room = self._burst.bounded(now, room)
        coming = self._debit * self._open * self._unit_s
        self._room_s = room = room - coming if coming < room / 2 else room / 2
        return room

    def wait_s(self, now: float, amount: float) -> float:
        """Say in how many seconds such an amount may be taken."""
        held = self._not_before - now
        if self.sliding:
            room = self._limit - min(self._debit * self._open, self._limit / 2) - amount
            return max(held, self._log.wait_s(now, room if room > 0 else 0.0))
        room = self.room_s(now, cost := amount * self._unit_s)
        wait = self.meter.wait_s(now, cost, room)
        if cost > room and self.meter.booked_s:  # one at a time, and the next may overtake it on its way
            late_s = min(self._burst.late_s, cost / 100)
            wait = max(wait, self.meter.full_at - now + late_s)
        return wait if wait > held else held if held > 0 else 0.0

    def fill(self, now: float) -> float:
        """Say which part of the limit is used, 0 to 1."""
        part = self._log.used(now) / self.limit if self.sliding else self.meter.depth_s(now) / self.window_s
        return min(1.0, part)

    def left(self, now: float) -> int:
        """Say how much is left of the limit."""
        return int(self.limit * (1.0 - self.fill(now)))

    def take(self, now: float, amount: float) -> Mark:
        """Book a call; `wait_s` was asked just before."""
        cost, room = amount * self._unit_s, self._room_s
        self.meter.book(now, cost)
        self._alone.book(now, cost)
        self._open += 1
        depth = self.meter.full_at - now
        return Mark(
            self,
            now,
            amount,
            cost,
            room,
            depth > room - cost,
            depth,
            self.meter.booked_s,
            self._log.add(now, amount),
            self._alone.full_at - now,
        )

    def accepted(self, mark: Mark) -> None:
        """The provider let that call in: so deep is allowed, and perhaps a little deeper."""
        self._burst.accepted(min(mark.depth_s, mark.alone_s), mark.cost_s, edge=mark.edge)

    def heard(
        self, now: float, at: float, mark: Mark | None, remaining: float, *, let_in: bool = True
    ) -> None:
        """Follow the headers of the answer to a call that was taken at `at`; `mark` if it was booked here."""
        if self.ours:
            return
        used = self.limit - remaining
        if self.sliding:
            # when it was let in lies between: what left since was still counted, and what came since perhaps
            unseen = used - max(self._log.used(now), mark.used if mark is not None else 0.0)
            self._note_others(now, at, unseen)
            return
        # where others book too, our own sum says nothing of the whole window
        if (
            mark is not None
            and mark.store_at is None
            and self._likeness.is_window(mark.at, used, mark.used, mark.alone_s * self.limit / self.window_s)
        ):
            self.sliding = True
        depth = self.cost_s(used)
        if let_in and mark is None:  # sent before this limit was known, with others
            self._burst.began_with(min(depth, self._before_s))
        self._follow(at, mark, 0.0, depth, _GAIN)

    def refused(self, now: float, at: float, mark: Mark | None, words: RateRefusal, wait_s: float) -> None:
        """Follow the words of a 429 that named this limit; the call was given back before."""
        if words.used is None or words.requested is None:
            self.hold(now, wait_s, mark)
            return
        bucket_s = self.cost_s(words.used + words.requested - words.limit)
        if not self.sliding and wait_s > bucket_s + max(_LONGER_S, self.window_s / 60):
            self.sliding = True
        if mark is not None and self._burst.came_early(now, at, wait_s) and self.sliding:
            self._log.stay_longer(wait_s)
        if self.sliding:
            unseen = words.used - self._log.used(now)
            if unseen > 0:  # others use it too
                self._log.add(now, unseen)
            self.hold(now, wait_s, None)
        else:
            self._follow(at, mark, mark.cost_s if mark is not None else 0.0, self.cost_s(words.used), 1.0)

    def hold(self, now: float, wait_s: float, mark: Mark | None) -> None:
        """Let nothing pass for so long: the provider said so, and nothing more."""
        self._not_before = max(self._not_before, now + wait_s)
        if mark is not None:
            self._burst.refused(now, min(mark.depth_s, mark.alone_s))

    def give_back(self, mark: Mark) -> None:
        """The provider did not charge that call."""
        self._open -= 1
        for meter in (self.meter, self._alone):
            meter.book(mark.at, -mark.cost_s)
        self._log.take_back(mark.at, mark.amount)
        if self.news is not None and mark.store_at is not None:
            self.news.append(News(self, -mark.cost_s))

    def booked_in_store(self, now: float, mark: Mark, at: float, booked_s: float, depth_s: float) -> None:
        """Others book here too: that is how deep it really is."""
        mark.store_at, mark.store_booked_s, mark.depth_s = at, booked_s, depth_s
        self.meter.full_at = now + depth_s

    def began(self, calls: int) -> None:
        """So many calls are open that were booked together."""
        self._open += calls

    def ended(self) -> None:
        """A call that was let in is at its end."""
        self._open = max(0, self._open - 1)

    def book(self, now: float, amount: float) -> float:
        """Book an amount that was used; return for how many seconds of refill it stands."""
        cost = self.cost_s(amount)
        self.meter.book(now, cost)
        self._alone.book(now, cost)
        self._log.add(now, amount)
        return cost

    def debit(self, now: float, amount: float) -> None:
        """Book what an answer used beyond what was taken for it."""
        self._debit += (amount - self._debit) * _SMOOTH
        if amount:
            cost = self.book(now, amount)
            if self.news is not None:
                self.news.append(News(self, cost))

    def _follow(self, at: float, mark: Mark | None, without_s: float, depth_s: float, gain: float) -> None:
        """Go towards what the provider said; `without_s` is what it did not charge of that call."""
        booked_s = mark.booked_s - without_s if mark is not None else 0.0
        self.meter.heard(at, booked_s, depth_s, gain)
        if self.news is not None and mark is not None and mark.store_at is not None:
            self.news.append(News(self, seen=(mark.store_at, mark.store_booked_s - without_s, depth_s, gain)))

    def _note_others(self, now: float, at: float, unseen: float) -> None:
        """Book what others use of a sliding window: what several answers in a row saw and we did not."""
        if unseen <= self._likeness.near or at < self.meter.synced_at:
            self._seen, self._unseen = 0, 0.0
            return
        self._unseen = min(self._unseen, unseen) if self._seen else unseen
        self._seen += 1
        if self._seen >= ENOUGH:
            self._log.add(now, self._unseen)
            self._seen, self.meter.synced_at = 0, now
