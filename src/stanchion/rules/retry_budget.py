"""A retry budget: retries are a share of the traffic, so an outage does not multiply it.

In any window of `WINDOW_S` seconds: retries <= max(floor, ratio * calls).  The idea is finagle's
RetryBudget; ours counts in a sliding window of one-second slots, so the bound is exact to one slot and
the floor does not add to the share.
"""

from __future__ import annotations

import math

WINDOW_S = 10


class RetryBudget:
    """Counts calls and retries; says whether one more retry is within the budget."""

    __slots__ = ("_calls", "_floor", "_ratio", "_retries", "_second", "_sum_calls", "_sum_retries")

    def __init__(self, *, ratio: float, floor: int) -> None:
        """`ratio`: retries per call, 0.1 is 10 %.  `floor`: retries per window that are always allowed."""
        self._ratio = ratio
        self._floor = floor
        self._calls = [0] * WINDOW_S
        self._retries = [0] * WINDOW_S
        self._sum_calls = 0
        self._sum_retries = 0
        self._second = -math.inf

    def call(self, now: float) -> None:
        """Count a new call."""
        self._forget(now)
        self._calls[int(now) % WINDOW_S] += 1
        self._sum_calls += 1

    def take(self, now: float) -> bool:
        """Take one retry out of the budget; False if there is none left."""
        self._forget(now)
        if self._sum_retries + 1 > max(self._floor, self._ratio * self._sum_calls):
            return False
        self._retries[int(now) % WINDOW_S] += 1
        self._sum_retries += 1
        return True

    def _forget(self, now: float) -> None:
        """Empty the slots of the seconds that have passed out of the window."""
        second = math.floor(now)
        if second <= self._second:
            return
        passed = WINDOW_S if self._second == -math.inf else min(WINDOW_S, second - int(self._second))
        for back in range(passed):
            slot = (second - back) % WINDOW_S
            self._sum_calls -= self._calls[slot]
            self._sum_retries -= self._retries[slot]
            self._calls[slot] = self._retries[slot] = 0
        self._second = second
