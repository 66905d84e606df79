"""Whether a time that a provider names in a refusal (`retry-after`) is meant for all, or for one call.

A provider that is full refuses all that follow.  One that sheds load refuses one call here and one there and lets in
those beside it: if all waited then, a refusal in fifty calls would stop fifty.  So a refusal among many that were let
in counts for its own call alone, four that come close together for all; and calls that were sent later and let in
prove that others may go on.

Its weakness: a provider that fills up suddenly refuses three calls more than if its first word were taken for all.
"""

from __future__ import annotations

import math

PER_ANSWER = 0.1  # so much of a refusal is made up for by a call that was let in
ENOUGH = 4.0  # refusals that are not made up for: they are meant for all
BEFORE = 3.0  # as many are taken for granted before anything was let in: there the first one counts
_PROOFS = 3  # calls that were sent later and let in


class Told:
    """What one endpoint said.  Mutable; `now` is given in, in seconds of one clock."""

    __slots__ = ("_doubt", "_proofs", "_sent_at", "until")

    def __init__(self) -> None:
        self.until = -math.inf  # nothing may be sent before
        self._doubt = BEFORE
        self._sent_at = -math.inf  # the latest call that was refused
        self._proofs = 0

    def refused(self, now: float, sent_at: float, wait_s: float, *, for_all: bool = False) -> None:
        """Note that a call sent at `sent_at` was refused and told to wait; `for_all`: it met a limit."""
        self._doubt = ENOUGH if for_all else min(self._doubt + 1.0, ENOUGH)
        self._sent_at = max(self._sent_at, sent_at)
        if self._doubt >= ENOUGH:
            self.until = max(self.until, now + wait_s)
            self._proofs = 0

    def let_in(self, sent_at: float, calls: float = 1.0) -> None:
        """Note that a call was let in; -inf where it is not known when it was sent."""
        self._doubt = max(0.0, self._doubt - calls * PER_ANSWER)
        if sent_at > self._sent_at:
            self._proofs += 1
            if self._proofs >= _PROOFS:
                self.until = -math.inf

    def wait_s(self, now: float) -> float:
        """Say in how many seconds a call may be sent."""
        return max(0.0, self.until - now)
