"""Does a limiter count a sliding window?  What several answers say decides, next to our own bookings.

Just after the first call a bucket and a window look alike; later the window still counts what the bucket gave
back.  What was used before we began is in neither of our sums: while a bucket gives it back, what it tells
passes by the sum of the window, which must not be taken for one.  So the likeness has to last.
"""

from __future__ import annotations

ENOUGH = 5  # answers in a row
_LONG = 0.06  # of the window, from the first to the last of them
_NEAR, _APART = 0.02, 0.05  # of the limit: what fits, and what does not


class Likeness:
    """Mutable.  Amounts are requests or tokens."""

    __slots__ = ("_since", "_times", "_window_s", "limit")

    def __init__(self, window_s: float) -> None:
        self.limit = 0.0
        self._window_s = window_s
        self._times = 0
        self._since = 0.0

    @property
    def near(self) -> float:
        """Say how far off is still a fit."""
        return _NEAR * self.limit + 1

    def is_window(self, at: float, used: float, in_window: float, in_bucket: float) -> bool:
        """Follow the word about a call of `at`: so much was used then, and so much were it the one or the other."""
        apart = _APART * self.limit + 1
        if used < apart or used - in_bucket <= apart or abs(used - in_window) > self.near:
            self._times = 0  # nearly always, where nobody waits: too little to tell
            return False
        if self._times == 0:
            self._since = at
        self._times += 1
        return self._times >= ENOUGH and at - self._since > _LONG * self._window_s
