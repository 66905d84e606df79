"""Which endpoint takes a call: one that is ready, was not tried yet, is least full, and has the least open."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """What the choice looks at."""

    ready_in_s: float  # 0 is now, inf is not now
    in_flight: int
    weight: float = 1.0  # its share of the load
    avoid: bool = False  # it failed this call before
    fill: float = 0.0  # how much of its quota is used, 0 to 1


def choose(candidates: Sequence[Candidate], *, turn: int) -> int | None:
    """Return the index of the best candidate that is ready now, or None.

    One to avoid is taken only where no other is ready.  Several keys fill like water: of those that are
    ready the least filled goes first, by tenths, so that nearly equal ones share by load and weight.  Ties
    go round: `turn` is any growing number.
    """
    best: int | None = None
    best_rank = (True, math.inf, math.inf)
    count = len(candidates)
    for step in range(count):
        index = (turn + step) % count
        candidate = candidates[index]
        if candidate.ready_in_s > 0:
            continue
        rank = (candidate.avoid, candidate.fill * 10 // 1, (candidate.in_flight + 1) / candidate.weight)
        if best is None or rank < best_rank:
            best, best_rank = index, rank
    return best


def soonest_s(candidates: Sequence[Candidate]) -> float:
    """Return in how many seconds the first of them is ready; `inf` if none will be by itself."""
    return min((candidate.ready_in_s for candidate in candidates), default=math.inf)
