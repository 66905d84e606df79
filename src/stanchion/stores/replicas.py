"""With how many replicas one reckons that loses the store they share.

The store counts who beat lately.  A higher number is believed at once.  A lower one only when all who live had time to
beat: not in the first moments with the store, and not when it came back, perhaps empty.  Until then it is what was known
before, or what was guessed at the start.

Knows no clock and no store.  Its weakness: who starts while the store is away has nothing but the guess.
"""

from __future__ import annotations

import math


class Replicas:
    """The number, as one replica knows it.  Mutable; `now` is given in, in seconds of one clock."""

    def __init__(self, guess: int, first_s: float) -> None:
        """`guess`: before the first beat, and until `first_s` seconds after it."""
        self.count = max(1, guess)
        self._first_s = first_s
        self._fewer_from = math.inf  # a lower number is believed from then on

    def heard(self, now: float, alive: int, least: int) -> None:
        """Follow what the store counted; never fewer than `least`."""
        if math.isinf(self._fewer_from):
            self._fewer_from = now + self._first_s
        alive = max(alive, least, 1)
        if alive >= self.count or now >= self._fewer_from:
            self.count = alive

    def came_back(self, now: float, dead_s: float) -> None:
        """Note that the store is back: in `dead_s` seconds all have beaten again."""
        self._fewer_from = now + dead_s
