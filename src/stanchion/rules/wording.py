"""How alike two texts are in their wording, from 0 to 1: Dice's coefficient over pairs of letters (1945).

Cheap, and the same for all languages.  It knows nothing of meaning: two right answers in other words are not alike,
and "yes" and "no" in the same long sentence are.
"""

from __future__ import annotations

from collections import Counter

_MOST_CHARS = 4000  # of each text; more is not compared


def alike(one: str, other: str) -> float:
    """Return 1 for the same text, 0 for texts without a common pair of letters."""
    if one == other:
        return 1.0
    ours, theirs = _pairs(one), _pairs(other)
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 0.0


def _pairs(text: str) -> Counter[str]:
    plain = " ".join(text[:_MOST_CHARS].lower().split())
    return Counter(map(str.__add__, plain, plain[1:]))
