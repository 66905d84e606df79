"""What one call took of one limit, and what others who keep the same limit must know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from stanchion.rules.gauge import Gauge


class Mark(msgspec.Struct, gc=False):
    """What one call took of one gauge, and how that stood then."""

    gauge: Gauge
    at: float
    amount: float
    cost_s: float
    room_s: float  # how deep was allowed
    edge: bool  # it went as deep as was allowed
    depth_s: float  # after it
    booked_s: float  # with it
    used: float  # of the sliding window, with it
    alone_s: float  # the depth that our own bookings alone would make
    store_at: float | None = None  # when it was booked in a store, by that store's clock
    store_booked_s: float = 0.0  # all that was ever booked there, with it


class News(msgspec.Struct, gc=False):
    """What others who keep the same limit must know: something booked, or what the provider said."""

    gauge: Gauge
    cost_s: float = 0.0  # negative: given back
    seen: tuple[float, float, float, float] | None = None  # for Meter.heard, on the store's clock
