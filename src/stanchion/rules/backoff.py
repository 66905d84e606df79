"""How long to wait before the next try.

Exponential backoff with full jitter: uniform in [0, min(most, base * 2^(n-1))).  Source: Brooker,
"Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).  Where the provider named a time, that
time plus jitter: it is a floor, and everybody was told the same one.
"""

from __future__ import annotations


def backoff_s(failed: int, *, base_s: float, most_s: float, jitter: float) -> float:
    """Return the seconds to wait after `failed` failed tries (1 or more).  `jitter` is in [0, 1)."""
    return min(most_s, base_s * 2.0 ** min(failed - 1, 60)) * jitter


def told_s(retry_after_s: float, *, base_s: float, jitter: float) -> float:
    """Return the seconds to wait where the provider named `retry_after_s`: up to a tenth more, at least `base_s`'s share."""
    return retry_after_s + max(retry_after_s * 0.1, base_s) * jitter
