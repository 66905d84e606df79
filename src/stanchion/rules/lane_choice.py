"""Which way a job's requests go: at once, through the cheaper tier, or as batches.  From prices and the time there is.

A batch takes up to a day; most end within hours.  What is not done when the deadline nears is asked at once, so a
batch is worth trying where the time is long enough for most of it.  The flex tier answers each call, only later.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from stanchion.rules.pricing import Price

LaneName = Literal["sync", "flex", "batch"]
BATCH_LEAST_S = 2 * 3600.0  # seconds until the deadline from which on batches are tried
FLEX_LEAST_S = 30 * 60.0  # and the flex tier, where a call may take a quarter of an hour
_RESCUE_LEAST_S, _RESCUE_MOST_S = 60.0, 2 * 3600.0


class Offer(msgspec.Struct, frozen=True):
    """What the provider of a model has."""

    price: Price | None = None  # None: nobody knows
    batches: bool = False
    batch_share: float | None = None  # of the standard price, where the price list has no price of batches
    flex: bool = False


def choose(offer: Offer, deadline_s: float | None) -> tuple[LaneName, ...]:
    """Return the lanes in their order; the last is always "sync".  `deadline_s` are the seconds until it, None: now."""
    if deadline_s is None:
        return ("sync",)
    standard = _sum(offer.price)
    ways: list[tuple[float, LaneName]] = []
    if offer.batches and deadline_s >= BATCH_LEAST_S:
        share = _share(offer.price, "batch", offer.batch_share)
        if share is not None and share < 1 and (standard > 0 or offer.batch_share is not None):
            ways.append((share, "batch"))
    if offer.flex and deadline_s >= FLEX_LEAST_S:
        share = _share(offer.price, "flex", None)
        if share is not None and share < 1:
            ways.append((share, "flex"))
    if not ways:
        return ("sync",)
    return min(ways)[1], "sync"


def rescue_s(deadline_s: float) -> float:
    """Return how long before the deadline the rest is asked at once: a quarter of the time, at most two hours."""
    return min(max(deadline_s / 4, _RESCUE_LEAST_S), _RESCUE_MOST_S, max(deadline_s, 0.0))


def _sum(price: Price | None) -> int:
    return 0 if price is None else price.input + price.output


def _share(price: Price | None, tier: str, told: float | None) -> float | None:
    """Return what a tier costs of the standard price; None if nobody knows."""
    if price is not None and tier in price.variants and _sum(price) > 0:
        return _sum(price.variants[tier]) / _sum(price)
    return told
