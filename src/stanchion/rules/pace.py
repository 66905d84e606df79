"""How fast a line moves, for the estimate of a new call's wait.

A mean over the last calls that were served, without its longest gap: when twenty thousand calls come at once
the event loop is busy with their coming, and that is no slowness of the line.  It forgets by calls, not by
time, so that it knows slow lines too; that a line stands still it learns when it moves again.
"""

from __future__ import annotations

_KEPT = 63 / 64  # of what is known, with each call
_ENOUGH = 8  # calls; fewer tell nothing


class Pace:
    """How much work a line does in a second."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._work = 0.0
        self._time = 0.0
        self._longest = 0.0
        self._count = 0

    def did(self, now: float, cost: float) -> None:
        """Note that work was done."""
        passed = now - self._last
        self._last = now
        self._count += 1
        self._work = self._work * _KEPT + cost
        self._time = self._time * _KEPT + passed
        self._longest = max(self._longest * _KEPT, passed)

    def undid(self, cost: float) -> None:
        """Take back work that was not done after all."""
        self._count -= 1
        self._work = max(0.0, self._work - cost)

    def wait_s(self, work: float) -> float:
        """Estimate how long so much work takes; 0 as long as too little is known."""
        if self._count < _ENOUGH or not self._work:
            return 0.0
        return work * max(0.0, self._time - self._longest) / self._work
