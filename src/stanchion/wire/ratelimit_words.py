"""What the words of a 429 say of the limit that refused: the provider's exact state.

"Rate limit reached for gpt-4 in organization org-x on tokens per min (TPM): Limit 10000, Used 8554,
Requested 3082. Please try again in 9.816s."  Limits per day on tokens have no header at all: only these
words tell them.
"""

from __future__ import annotations

import re
from typing import cast

from stanchion.core.rates import Kind, RateRefusal

_WHICH = re.compile(r"\b(requests|tokens) per (sec|min|hour|day)", re.IGNORECASE)
_LIMIT = re.compile(r"\blimit:?\s*(\d[\d,]{0,15})", re.IGNORECASE)
_USED = re.compile(r"\b(?:used|current):?\s*(\d[\d,]{0,15})", re.IGNORECASE)
_REQUESTED = re.compile(r"\brequested:?\s*(\d[\d,]{0,15})", re.IGNORECASE)
_WINDOW_S = {"sec": 1.0, "min": 60.0, "hour": 3600.0, "day": 86400.0}


def read_refusal(message: str) -> RateRefusal | None:
    """Read the words of a 429; None if they name no limit."""
    which, limit = _WHICH.search(message), _LIMIT.search(message)
    if which is None or limit is None:
        return None
    size = _number(limit)
    if not size:
        return None
    return RateRefusal(
        cast("Kind", which[1].lower()),
        _WINDOW_S[which[2].lower()],
        size,
        _number(_USED.search(message)),
        _number(_REQUESTED.search(message)),
    )


def _number(match: re.Match[str] | None) -> int | None:
    return None if match is None else int(match[1].replace(",", ""))
