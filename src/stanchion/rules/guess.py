"""The rate of a provider that refuses and tells no limit: guessed from what it lets in.

A refusal among many answers is no news of a limit: providers shed load at random, and who went slower each time would
crawl.  So refusals are weighed against answers: each answer makes up for a part of a refusal, and the guess is made,
or made smaller, when four are left over.  A limit that was passed by far leaves them over at once.  Where few
calls a second are let in, fewer are enough, down to one: a guess that was made in vain has grown back there before the
next refusal comes, and a small limit would be passed too often.

**Does it depend on the rate?**  After each step down the calls that follow are counted.  If as large a part of them is
refused as before, the rate was not the reason: the guess is what it was, and that share is made up for from then on.
If not, it was, and one refusal is enough the next time.

**Upwards** it is tried by a hundredth a second, faster the longer it went without a step down.

The pattern is that of Chiu and Jain (1989): small steps up, a part of itself down.  The weighing is Page's cumulative
sum test (1954).  Its weakness: a limit that is passed for the first time, and by little, is heard of late.
"""

from __future__ import annotations

import math

from stanchion.rules.gauge import Gauge
from stanchion.rules.told import ENOUGH, PER_ANSWER

_FIRST_PER_S, _LEAST_PER_S = 1.0, 1 / 60  # the first guess is not smaller, and no later one
_LESS = 0.9  # of what was let in
_STEPS = (0.7, 0.5)  # times the guess at least: a step down, and one that follows before the first was judged
_TAKEN, _TAKEN_MET = 1.0, 2.0  # refusals taken for granted at first, and after a step where one was enough
_ENOUGH_S = 0.2  # of the calls let in: so many refusals are enough, from one to ENOUGH
_SURE = 2.0  # answers taken for granted when a share of refusals is reckoned
_SHARE_MOST = 0.25  # more was never chance
_SHARE_RIGHT = 0.05  # what is refused after a step that was right: more, and the step was too small
_SHARE_NONE = 0.004
_TIMES = 2.5  # the share that is refused by chance must be passed so many times
_COUNT_REFUSALS, _COUNT_LEAST, _COUNT_MOST = (
    4.0,
    20.0,
    600.0,
)  # calls counted after a step: so many were refused before
_MORE = 0.01  # a second
_NEAR = 0.97  # of the rate before the step: it grows no nearer until enough were counted
_QUIET_S, _QUIET_CALLS = 15.0, 150.0  # after twice so long and so many without a step down twice as much
_QUIET_MOST = 5.0  # times as much
_IDLE = 2.0  # times what is let in: a guess that nothing waits for does not grow
_SLICE_S, _SLICE_LEAST_S = 1.0, 0.25  # the latter where a slice has _SLICE_CALLS already
_SLICE_CALLS = 4.0


class Guess:
    """Mutable; `now` is given in, in seconds of one clock."""

    __slots__ = (
        "_before",
        "_before_per_s",
        "_chance",
        "_cut_at",
        "_grown_at",
        "_let_in",
        "_per_s",
        "_refused",
        "_slice",
        "_slice_at",
        "_weight",
        "gauge",
    )

    def __init__(self, now: float) -> None:
        self.gauge: Gauge | None = None  # None: no limit was met
        self._weight = _TAKEN  # refusals that no answer made up for
        self._chance = 0.0  # the share that is refused whatever the rate
        self._let_in = self._refused = 0.0  # of the calls sent since the last step down
        self._before, self._before_per_s = (
            0.0,
            0.0,
        )  # what was refused before it, and the guess; 0 where that is over
        self._cut_at = self._grown_at = -math.inf
        self._slice_at, self._slice = now, 0.0  # what was let in lately,
        self._per_s = 0.0  # and in the slice of time before, a second

    def let_in(self, now: float, sent_at: float, calls: float = 1.0) -> None:
        """Note that calls were let in."""
        if now - self._slice_at >= _SLICE_S:
            self._per_s = self._slice / min(now - self._slice_at, 2 * _SLICE_S)
            self._slice_at, self._slice = now, 0.0
        self._slice += calls
        if sent_at <= self._cut_at:
            return
        self._let_in += calls
        self._weight = max(0.0, self._weight - calls * max(PER_ANSWER, _TIMES * self._chance))
        if self._before:
            self._compare()

    def refused(self, now: float, sent_at: float) -> bool:
        """Note that a call was refused; say whether a guess was made by it, or made smaller."""
        if sent_at <= self._cut_at:  # refusals come in bunches: those of calls sent before say nothing new
            return False
        self._refused += 1.0
        self._weight += 1.0
        by_chance = self._chance >= _SHARE_NONE
        alone = self.gauge is not None and not self._before and not by_chance
        few = 1.0 if alone else max(1.0, self._rate(now) * _ENOUGH_S)
        if self._weight < (ENOUGH if by_chance else min(few, ENOUGH)):
            return False
        share = self._refused / (self._let_in + self._refused + _SURE)
        gauge = self.gauge
        if gauge is None:
            per_s = max(_FIRST_PER_S, self._rate(now) * _LESS)
            self._before_per_s = math.inf
            self.gauge = Gauge("requests", 1.0, per_s, now=now, first_s=0.0)
        else:
            least = _STEPS[1] if self._before > _SHARE_MOST else _STEPS[0]
            self._before_per_s = gauge.limit
            gauge.limit = max(_LEAST_PER_S, gauge.limit * max((1.0 - share) * _LESS, least))
        self._before = share
        self._cut_at = self._grown_at = now
        self._let_in = self._refused = 0.0
        self._weight = _TAKEN_MET if alone else _TAKEN
        return True

    def grow(self, now: float) -> None:
        """Note that a call at the edge of the guess was let in."""
        gauge, since_s = self.gauge, now - self._grown_at
        self._grown_at = now
        if gauge is None or gauge.limit > _IDLE * self._rate(now):
            return
        quiet = min((now - self._cut_at) / _QUIET_S, self._let_in / _QUIET_CALLS)
        more = _MORE * min(max(1.0, quiet), _QUIET_MOST)
        apart_s = max(1.0, 2.0 / gauge.limit)  # calls farther apart did not wait for each other
        limit = gauge.limit * math.exp(more * min(apart_s, since_s))
        if self._before:
            limit = max(gauge.limit, min(limit, self._before_per_s * _NEAR))
        gauge.limit = limit

    def _compare(self) -> None:
        """See whether fewer are refused than before the step, once enough calls were counted."""
        calls = self._let_in + self._refused
        if calls < min(max(_COUNT_REFUSALS / self._before, _COUNT_LEAST), _COUNT_MOST):
            return
        share = self._refused / calls
        gauge = self.gauge
        as_before = self._refused >= 2.0 and share >= self._before / 2
        if as_before and self._before <= _SHARE_MOST and gauge is not None:
            self._chance = share
            gauge.limit = max(gauge.limit, min(self._before_per_s, gauge.limit * 2.0))
        else:
            self._chance = share if share < _SHARE_RIGHT else 0.0
        self._before = 0.0

    def _rate(self, now: float) -> float:
        """Say how many a second were let in lately."""
        least_s = _SLICE_LEAST_S if self._slice >= _SLICE_CALLS else _SLICE_S
        return max(self._per_s, self._slice / max(least_s, now - self._slice_at))
