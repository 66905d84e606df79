"""How many calls a job should have open: as many as bring more answers a second, and no more.

It grows by half while every place is taken, nobody waits for a turn, and the last growth brought at least a twentieth
more answers a second; where one brought nothing it looks again some seconds later, since providers change.
Where calls wait for quota it does not grow: more would only wait, too.  Nor where this process itself has no time
left: more open calls only cost it more then.  It never shrinks: a place that waits costs a few kilobytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

_LOOK_S = 0.25  # seconds between two looks, at least
_ANSWERS = 1.0  # of the width: so many answers between two looks, at least
_BETTER = 1.05  # times as many answers a second are worth growing on
_GROWTH = 1.5
_AGAIN_S = 8.0  # seconds until a growth that brought nothing is tried again
_LOADED = 0.9  # of the time between two looks: a process that works so much has none left
_WAIT = 0.05  # of the width may wait for a turn, and count as nobody


class Width:
    """Mutable; `now` is given in, in seconds of one clock."""

    __slots__ = ("_answered", "_held_until", "_looked_at", "_rate", "_worked", "_worked_s", "most", "now")

    def __init__(self, start: int, most: int, worked: Callable[[], float] = lambda: 0.0) -> None:
        """`worked` tells the seconds that the loop's thread has worked, in all."""
        self.now = max(1, min(start, most))
        self.most = most
        self._answered = 0
        self._looked_at = -math.inf
        self._rate = 0.0  # answers a second before the last growth
        self._held_until = -math.inf
        self._worked = worked
        self._worked_s = 0.0

    def answered(self) -> None:
        """Count an answer."""
        self._answered += 1

    def look(self, at: float, *, waiting: float, busy: int) -> bool:
        """Say whether it has grown.  `waiting` calls wait for a turn, `busy` are open, those among them."""
        if self.now >= self.most:
            return False
        if math.isinf(self._looked_at):
            self._looked_at, self._answered, self._worked_s = at, 0, self._worked()
        spent_s = at - self._looked_at
        if spent_s < _LOOK_S or self._answered < self.now * _ANSWERS:
            return False
        rate, worked_s = self._answered / spent_s, self._worked()
        loaded = (worked_s - self._worked_s) / spent_s > _LOADED
        self._looked_at, self._answered, self._worked_s = at, 0, worked_s
        if loaded or busy < self.now or waiting > self.now * _WAIT:
            return False
        if rate < self._rate * _BETTER and at < self._held_until:
            return False
        self._rate, self._held_until = rate, at + _AGAIN_S
        self.now = min(self.most, int(self.now * _GROWTH) + 1)
        return True
