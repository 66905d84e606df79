"""Calendar windows: which minute, hour, day or month a moment lies in, in UTC or a named zone.

A window's id is text made of the moment alone, so that all who reckon with the same zone name the same window
without asking each other.  An hour or a minute that comes twice when clocks are set back is two windows: its id
carries the distance from UTC.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

import msgspec

WindowKind = Literal["minute", "hour", "day", "month", "total"]
_SPANS = {"minute": 60.0, "hour": 3600.0}
_FORMS = {"minute": "%Y-%m-%dT%H:%M%z", "hour": "%Y-%m-%dT%H%z"}


class Window(msgspec.Struct, frozen=True, gc=False):
    """One window: from `begins_at` until just before `ends_at`, in seconds since 1970."""

    id: str
    begins_at: float
    ends_at: float


def window_of(kind: WindowKind, at: float, zone: tzinfo = UTC) -> Window:
    """Return the window in which the moment `at` lies, in seconds since 1970."""
    if kind == "total":
        return Window("total", -math.inf, math.inf)
    here = datetime.fromtimestamp(math.floor(at), zone)  # a fraction would be rounded, up into the next
    if kind == "minute" or kind == "hour":
        begins = here.replace(second=0, microsecond=0, minute=here.minute if kind == "minute" else 0)
        begins_at = begins.timestamp()
        return Window(begins.strftime(_FORMS[kind]), begins_at, begins_at + _SPANS[kind])
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if kind == "day":
        id, following = midnight.strftime("%Y-%m-%d"), midnight + timedelta(days=1)
    else:
        midnight = midnight.replace(day=1)
        id, following = midnight.strftime("%Y-%m"), (midnight + timedelta(days=32)).replace(day=1)
    return Window(id, midnight.timestamp(), following.timestamp())
