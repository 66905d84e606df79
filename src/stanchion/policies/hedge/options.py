"""Whether late attempts get a second one beside them, and how many may."""

from __future__ import annotations

import msgspec


class HedgeOptions(msgspec.Struct, frozen=True):
    """When a second attempt is made beside a late one."""

    on: bool = False
    quantile: float = 0.95  # late is whoever takes longer to its first chunk than this part of its kind
    extra_most: float = 0.05  # second attempts per call, at most
    least_samples: int = 50  # answers that must have been seen before anything is called late
    fill_most: float = 0.8  # an endpoint whose quota is used further than this is not asked beside another
    whole: bool = False  # answers that are given whole too: each extra one is written, and paid, to its end
