"""How many second attempts may be made beside late ones: a share of the calls, saved up to a few.

Hedges <= share * calls, at any time and from the first call on; and what was not used in quiet times is not all
spent in a bad one: no more than `SAVED_MOST` are saved.  Counted in whole millionths, so that no sum of floats
makes one more.
"""

from __future__ import annotations

SAVED_MOST = 10
_ONE = 1_000_000


class HedgeBudget:
    """A purse of hedges: each call puts its share in, each hedge takes one out."""

    __slots__ = ("_saved",)

    def __init__(self) -> None:
        self._saved = 0

    def call(self, share: float) -> None:
        """Count a call.  `share`: hedges per call, 0.05 is 5 %."""
        self._saved = min(self._saved + int(share * _ONE), SAVED_MOST * _ONE)

    def take(self) -> bool:
        """Take one hedge out; False if there is none."""
        if self._saved < _ONE:
            return False
        self._saved -= _ONE
        return True

    def give_back(self) -> None:
        """Put one back in that was not made after all."""
        self._saved = min(self._saved + _ONE, SAVED_MOST * _ONE)
