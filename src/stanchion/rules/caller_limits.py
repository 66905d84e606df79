"""Limits of callers as words, and what a call takes of them.

`requests=100/minute`, `tokens=2000000/day`, `open=5`.  A month is 30 days.

Each limit is a bucket (rules/meter.py): full at first, and filled up evenly.  100 requests a minute let 100 through
at once, and from then on one each 0.6 s.  So a minute never sees more than twice the limit, and in the long run it is
the limit exactly.  A window by the calendar would let through twice the limit around its edge as well, and make all
callers wait for the same moment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stanchion.core.caller import Limit

WINDOWS = {"minute": 60, "hour": 3600, "day": 86_400, "month": 2_592_000}
MOST = 10**12
_FORM = re.compile(r"(requests|tokens)=([0-9]+)/(minute|hour|day|month)|open=([0-9]+)")
_NAMES = {seconds: name for name, seconds in WINDOWS.items()}
_HOW = "write requests=100/minute, tokens=2000000/day (minute, hour, day or month) or open=5"


def read_limits(words: Sequence[str]) -> tuple[Limit, ...]:
    """Read limits.  Raises ValueError, which says what to write."""
    found: dict[tuple[str, int], Limit] = {}
    for word in words:
        limit = _read(word)
        at = (limit.what, limit.window_s)
        if at in found:
            raise ValueError(f"there are two limits of {limit.what} for the same time: keep one")
        found[at] = limit
    return tuple(found.values())


def write_limit(limit: Limit) -> str:
    """Write a limit as `read_limits` reads it."""
    if limit.what == "open":
        return f"open={limit.most}"
    return f"{limit.what}={limit.most}/{_NAMES.get(limit.window_s, f'{limit.window_s}s')}"


def say_limit(limit: Limit) -> str:
    """Say a limit in a sentence: `100 requests a minute`."""
    if limit.what == "open":
        return f"{limit.most} calls open at once"
    return f"{limit.most} {limit.what} {'an' if limit.window_s == 3600 else 'a'} {_NAMES.get(limit.window_s, 'window')}"


def cost_s(limit: Limit, amount: float) -> float:
    """Return the time in which so much comes back."""
    return amount / limit.most * limit.window_s


def _read(word: str) -> Limit:
    form = _FORM.fullmatch(word)
    if form is None:
        raise ValueError(f"{word[:40]!r} is no limit: {_HOW}")
    most = int(form[2] or form[4])
    if not 0 < most <= MOST:
        raise ValueError(f"{word[:40]!r}: a limit is from 1 to {MOST}; to let nobody in, revoke the key")
    if form[4]:
        return Limit("open", most)
    return Limit("requests" if form[1] == "requests" else "tokens", most, WINDOWS[form[3]])
