"""How long answers take to begin: a quantile that is learned from what is seen, and forgets.

A histogram whose buckets grow by a twentieth, so a quantile is right to 5 %, and costs the same however much was seen.
What is new weighs more: a sample weighs half as much after 500 others, or after an hour.

Where about one in twenty straggles, the 0.95 quantile lies between the usual answers and the stragglers, and chance
decides on which side it is found.  So where it is found above a gap, and what was seen leaves open whether it lies
below, it is what lies below.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
_LEAST_S = 0.001  # the bound of the first bucket
_GROWTH = math.log(1.05)
_MOST_S = 3600.0  # what is more is so much
_BUCKETS = math.ceil(math.log(_MOST_S / _LEAST_S) / _GROWTH) + 1
_HALF_SAMPLES = 500.0
_HALF_S = 3600.0
_AGE_MOST = 256.0  # half-lives after which the weights are made small again
_ERRORS = 2.0  # standard errors of a part of the samples that are left open
_FEW = 0.02  # of the rest: no more in a bucket is as good as none
_APART = math.ceil(math.log(1.5) / _GROWTH)  # buckets: so wide is a gap, from one time to half as much again
_LOOK_EVERY = 32  # samples between two looks at the histogram
_KEPT_MOST = 1000


class Latency:
    """The quantiles of one kind of call at one place.  Times are in seconds."""

    __slots__ = ("_age", "_at", "_counts", "_found", "_of", "_total", "_unseen")

    def __init__(self, now: float) -> None:
        self._counts = [0.0] * _BUCKETS
        self._total = 0.0
        self._age = 0.0  # half-lives since the weights were made small
        self._at = now
        self._found = math.inf
        self._of: float = math.nan  # the quantile that was found
        self._unseen = 0  # samples since

    def add(self, seconds: float, now: float) -> None:
        """Take in how long one answer took; `inf` if it was too long to be waited for."""
        self._age = age = self._age_at(now) + 1 / _HALF_SAMPLES
        self._at = now
        weight = 2.0**age
        seconds = min(seconds, _MOST_S)
        bucket = math.ceil(math.log(seconds / _LEAST_S) / _GROWTH) if seconds > _LEAST_S else 0
        self._counts[min(bucket, _BUCKETS - 1)] += weight
        self._total += weight
        self._unseen += 1
        if age > _AGE_MOST:
            shrink = 2.0**-age
            self._counts = [count * shrink for count in self._counts]
            self._total *= shrink
            self._age = 0.0

    def samples(self, now: float) -> float:
        """Say how many samples what was seen weighs now; a new one weighs 1."""
        return self._total * 2.0 ** -self._age_at(now)

    def quantile(self, part: float) -> float:
        """Return the time within which this part of the answers began; `inf` if none is known."""
        if part != self._of or self._unseen >= _LOOK_EVERY:
            self._of, self._unseen = part, 0
            self._found = self._look(1.0 - part)
        return self._found

    def _look(self, rest: float) -> float:
        """Return the bound of the highest bucket that more than this part of all lies in or above.

        Where there is a gap below it, above which not clearly more lies: of the highest bucket below the gap.
        """
        total = self._total
        if not total:
            return math.inf
        samples = total * 2.0**-self._age
        open_to = total * (rest + _ERRORS * math.sqrt(rest * (1.0 - rest) / samples))
        found = lowest = below_gap = -1
        above, few = 0.0, total * rest * _FEW
        for bucket in range(_BUCKETS - 1, -1, -1):
            count = self._counts[bucket]
            above += count
            if found < 0:
                if above > total * rest:
                    found = lowest = bucket
            elif count > few:
                if lowest - bucket >= _APART:
                    below_gap = bucket
                lowest = bucket
            if above > open_to:
                break
        return _LEAST_S * math.exp((found if below_gap < 0 else below_gap) * _GROWTH)

    def _age_at(self, now: float) -> float:
        return self._age + min((now - self._at) / _HALF_S, _AGE_MOST)  # 2.0 ** 1024 is too large


class Latencies(Generic[K]):
    """What was learned, by kind; of those that are too many the least lately asked for is forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[K, Latency] = OrderedDict()

    def of(self, kind: K, now: float) -> Latency:
        """Return what is known of a kind of call."""
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = Latency(now)
            if len(self._known) > _KEPT_MOST:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(kind)
        return found
