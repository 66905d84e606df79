"""What a caller says about stored answers, in the words of HTTP's Cache-Control (RFC 9111, section 5.2.1).

`max-age` asks for a stored answer where we would not have kept one by ourselves.  `exact` is a word of our own
(section 5.2.3 allows it): no answer of the semantic cache.
"""

from __future__ import annotations

import math

import msgspec

from stanchion.core.errors import InvalidCall

HEADER = "cache-control"


class CacheAsked(msgspec.Struct, frozen=True, gc=False):
    """One call's wish.  It stands in `Call.options`."""

    look: bool = True  # a stored answer will do
    store: bool = True  # the answer may be kept, and shared with who asks the same
    asks: bool = False  # also where the same call need not have the same answer
    max_age_s: float = math.inf  # an older stored answer will not do
    only_stored: bool = False  # rather none than a new one
    near: bool = (
        True  # so will one that was given to a question that means the same, where the settings allow it
    )


USUAL = CacheAsked()


def read_cache_control(value: str) -> CacheAsked:
    """Read the header's value, or a caller's word.  Directives of others are left out.  Raises InvalidCall."""
    look, store, asks, max_age_s, only_stored, near = True, True, False, math.inf, False, True
    for part in value.split(","):
        name, _, argument = part.strip().partition("=")
        match name.strip().lower():
            case "no-store":
                look = store = False
            case "no-cache":
                look = False
            case "only-if-cached":
                only_stored = asks = True
            case "max-age":
                max_age_s, asks = _seconds(argument.strip()), True
            case "exact":
                near = False
            case _:
                pass
    return CacheAsked(look and max_age_s > 0, store, asks, max_age_s, only_stored, near)


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise InvalidCall("max-age must be a whole number of seconds", param="Cache-Control")
    return float(text)
