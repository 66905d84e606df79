"""Far from every limit: calls are counted together, and booked when that is over.

A call that is booked on each gauge by itself costs ten microseconds, and where half of what is free now would not
be used up, nothing depends on it.  So for a quarter of a second at a time, and for half of what is free at most,
calls only take from one number for requests and one for tokens.
"""

from __future__ import annotations

import math

from stanchion.rules.quota import Mirror

_LASTS_S = 0.25
_WORTH = 32  # calls; fewer are booked one by one
_SHARE = 0.5  # of what is free


class Calm:
    """The calm of one mirror.  Mutable; `now` is given in, in seconds of one clock."""

    __slots__ = (
        "_ends_at",
        "_mirror",
        "_requests",
        "_requests_free",
        "_tokens",
        "_tokens_free",
        "open",
        "turn",
    )

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._ends_at = -math.inf
        self._requests = self._tokens = 0.0  # taken
        self._requests_free = self._tokens_free = 0.0
        self.open = 0  # calls that were taken in this calm and did not end
        self.turn = 0  # which calm it is: one that ends in a later one is counted there no more

    def has(self, now: float, tokens: int) -> bool:
        """Say whether a call of so many tokens may be taken here; ends the calm if not."""
        if (
            now < self._ends_at
            and self._requests < self._requests_free
            and self._tokens + tokens < self._tokens_free
        ):
            return True
        if self._ends_at > 0.0:
            self.end(now)
        return False

    def take(self, tokens: int) -> int:
        """Take a call, after `has`.  Returns what `ended` wants to know."""
        self._requests += 1
        self._tokens += tokens
        self.open += 1
        return self.turn

    def ended(self, now: float, turn: int, output: int) -> None:
        """A call that was taken in the calm `turn` is at its end and had so many tokens."""
        if turn == self.turn:
            self.open -= 1
            self._tokens += output
            return
        for gauge in self._mirror.gauges:
            gauge.ended()
            if gauge.kind == "tokens":
                gauge.debit(now, output)

    def begin(self, now: float) -> None:
        """Begin a calm, if all limits are far."""
        mirror = self._mirror
        if not mirror.plain or mirror.held(now):
            return
        requests = tokens = math.inf
        for gauge in mirror.gauges:
            free_s = gauge.room_s(now) - gauge.meter.depth_s(now)
            free = _SHARE * free_s / gauge.cost_s(1)
            if gauge.kind == "requests":
                requests = min(requests, free)
            else:
                tokens = min(tokens, free)
        if requests >= _WORTH and tokens >= _WORTH:
            self._requests_free, self._tokens_free = requests, tokens
            self._ends_at = now + _LASTS_S

    def end(self, now: float) -> None:
        """Book what was taken."""
        self._mirror.let_in(now, int(self._requests))
        for gauge in self._mirror.gauges:
            gauge.began(self.open)
            gauge.book(now, self._requests if gauge.kind == "requests" else self._tokens)
        self._ends_at = -math.inf
        self._requests = self._tokens = 0.0
        self.open = 0
        self.turn += 1
