"""How many calls a job should have open: as many as bring more answers a second, and no more.

It grows by half while every place is taken, nobody waits for a turn, and the last growth brought at least a twentieth
more answers a second; where one brought nothing it looks again some seconds later, since providers change.
Where calls wait for quota it does not grow: more would only wait, too.  It never shrinks: a place that waits
costs a few kilobytes.
"""

from __future__ import annotations

import math

_LOOK_S = 0.25  # seconds between two looks, at least
_ANSWERS = 1.0  # of the width: so many answers between two looks, at least
_BETTER = 1.05  # times as many answers a second are worth growing on
_GROWTH = 1.5
_AGAIN_S = 8.0  # seconds until a growth that brought nothing is tried again
_WAIT = 0.05  # of the width may wait for a turn, and count as nobody


class Width:
    """Mutable; `now` is given in, in seconds of one clock."""

    __slots__ = ("_answered", "_held_until", "_looked_at", "_rate", "most", "now")

    def __init__(self, start: int, most: int) -> None:
        self.now = max(1, min(start, most))
        self.most = most
        self._answered = 0
        self._looked_at = -math.inf
        self._rate = 0.0  # answers a second before the last growth
        self._held_until = -math.inf

    def answered(self) -> None:
        """Count an answer."""
        self._answered += 1

    def look(self, at: float, *, waiting: float, busy: int) -> bool:
        """Say whether it has grown.  `waiting` calls wait for a turn, `busy` are open, those among them."""
        if self.now >= self.most:
            return False
        if math.isinf(self._looked_at):
            self._looked_at, self._answered = at, 0
        spent_s = at - self._looked_at
        if spent_s < _LOOK_S or self._answered < self.now * _ANSWERS:
            return False
        rate = self._answered / spent_s
        self._looked_at, self._answered = at, 0
        if busy < self.now or waiting > self.now * _WAIT:
            return False
        if rate < self._rate * _BETTER and at < self._held_until:
            return False
        self._rate, self._held_until = rate, at + _AGAIN_S
        self.now = min(self.most, int(self.now * _GROWTH) + 1)
        return True
