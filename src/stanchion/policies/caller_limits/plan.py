"""Which limits count for the calls of one standing, worked out once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stanchion.core.caller import Level, Limit, Standing
from stanchion.rules.caller_limits import cost_s
from stanchion.stores.protocols import Take


class Bound(msgspec.Struct, frozen=True):
    """One limit that counts for a call."""

    level: str
    limit: Limit
    name: str  # of the meter or slot in the store.  A limit that is changed goes on with what was used
    one: Take  # of one request, or one token
    of_tokens: bool


class Plan(msgspec.Struct, frozen=True):
    """All limits that count for a call."""

    standing: Standing
    metered: tuple[Bound, ...]
    held: tuple[Bound, ...]
    ones: tuple[Take, ...]  # of one request, or one token, for each of `metered`
    of_tokens: tuple[int, ...]  # places in `metered` of limits of tokens
    tokens_most: int  # a larger call never fits


def planned(standing: Standing, levels: Sequence[Level]) -> Plan:
    """Return the plan of a standing, which counts at these levels."""
    bounds = [_bound(level.name, limit) for level in levels for limit in level.limits]
    metered = tuple([bound for bound in bounds if bound.limit.what != "open"])
    held = tuple([bound for bound in bounds if bound.limit.what == "open"])
    of_tokens = tuple([place for place, bound in enumerate(metered) if bound.of_tokens])
    tokens_most = min((metered[place].limit.most for place in of_tokens), default=0)
    return Plan(standing, metered, held, tuple([bound.one for bound in metered]), of_tokens, tokens_most)


def _bound(level: str, limit: Limit) -> Bound:
    name = f"caller {level} {limit.what}/{limit.window_s}"
    return Bound(
        level, limit, name, Take(name, cost_s(limit, 1), float(limit.window_s)), limit.what == "tokens"
    )
