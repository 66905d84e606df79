"""How long a simulated model takes: time to first token and speed, log-normal and seeded.

A log-normal fits measured latencies of hosted models well enough: never negative, a long right tail. The pace
knows nothing of load: a thousand streams at once are as fast as one.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

_GAP_SIGMA = 0.3  # spread of single gaps around a stream's own speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Medians and spreads. Zero means at once.

    `ttft_s`: median time to first token. `tokens_per_s`: median speed of a stream. The sigmas are those of the
    underlying normal distribution: 0.25 puts 95 % of the values within a factor of 1.6 of the median.
    """

    ttft_s: float = 0.0
    ttft_sigma: float = 0.25
    tokens_per_s: float = 0.0
    tokens_per_s_sigma: float = 0.15

    def instant(self) -> bool:
        """Whether nothing ever waits."""
        return self.ttft_s <= 0 and self.tokens_per_s <= 0


REALISTIC = Timing(ttft_s=0.35, tokens_per_s=80.0)


class Pace:
    """The waits of one call, drawn from its own seeded source."""

    __slots__ = ("_gap_mu", "_random", "_speed", "first_s")

    def __init__(self, timing: Timing, seed: int) -> None:
        self._random = random.Random(seed)
        self.first_s = _spread(self._random, timing.ttft_s, timing.ttft_sigma)
        self._speed = _spread(self._random, timing.tokens_per_s, timing.tokens_per_s_sigma)
        self._gap_mu = -math.log(self._speed) if self._speed > 0 else 0.0

    def gap_s(self) -> float:
        """The wait before the next token."""
        if self._speed <= 0:
            return 0.0
        return self._random.lognormvariate(self._gap_mu, _GAP_SIGMA)

    def whole_s(self, tokens: int) -> float:
        """The wait before a whole reply of that many tokens."""
        return self.first_s + (max(tokens - 1, 0) / self._speed if self._speed > 0 else 0.0)


def _spread(source: random.Random, median: float, sigma: float) -> float:
    if median <= 0:
        return 0.0
    return source.lognormvariate(math.log(median), sigma) if sigma > 0 else median


INSTANT_PACE = Pace(Timing(), 0)
