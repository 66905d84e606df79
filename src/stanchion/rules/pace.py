"""How fast a line moves, for the estimate of a new call's wait."""

from __future__ import annotations

_MEMORY_S = 10.0


class Pace:
    """How much work a line does in a second, learned while calls wait in it; a moving mean over 10 s."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._work = 0.0
        self._time = 0.0

    def did(self, now: float, cost: float) -> None:
        """Note that work was done."""
        passed = now - self._last
        kept = _MEMORY_S / (_MEMORY_S + passed)
        self._work = self._work * kept + cost
        self._time = self._time * kept + passed
        self._last = now

    def wait_s(self, now: float, work: float) -> float:
        """Estimate how long so much work takes; 0 as long as nothing is known."""
        time = self._time + (now - self._last)
        return work * time / self._work if self._work else 0.0
