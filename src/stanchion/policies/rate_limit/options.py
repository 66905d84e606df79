"""What the limiter of an endpoint is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from stanchion.rules.ceilings import NO_CEILINGS, Ceilings
from stanchion.stores.admission import Admissions
from stanchion.stores.protocols import Change, Limits


class RateLimitOptions(msgspec.Struct, frozen=True):
    """Whether the provider's limits are learned and kept to."""

    learn: bool = True  # false: nothing waits but for the limits that are configured


class Quota(msgspec.Struct, frozen=True):
    """What is known beforehand of one endpoint's limits."""

    ceilings: Ceilings = NO_CEILINGS  # never more than this, whatever the provider allows
    starts: Ceilings = NO_CEILINGS  # the provider's own limits, until its answers tell better
    careful: bool = (
        True  # a few calls first, until an answer tells the limits; a server of one's own has none
    )
    open_most: int = 0  # calls that are open there at once, of all who share its limits; 0 is any number
    reserves_output: bool = False  # the provider charges `max_tokens` before it admits a call


NO_QUOTA = Quota()


class SharedLimits(msgspec.Struct, frozen=True):
    """The limits that several processes keep together."""

    limits: Limits
    later: Callable[[Sequence[Change]], None]  # does the changes in the background
    free: Callable[[str, str], None]  # gives a slot back that a holder has, in the background
    admissions: Admissions | None = None  # where what a call wants is asked for in one step
