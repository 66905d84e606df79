"""Which budgets a call counts against, and the purse of each at this moment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from stanchion.core.call import Call
from stanchion.policies.budget.options import BudgetSettings
from stanchion.rules.pricing import MILLION
from stanchion.rules.windows import Window, window_of
from stanchion.stores.budgets import LATE_S

_NEVER = Window("", math.inf, -math.inf)


class Account:
    """One configured budget."""

    def __init__(self, name: str, settings: BudgetSettings) -> None:
        """Raises ZoneInfoNotFoundError, or ValueError, where there is no such zone."""
        self.name = name
        self.cap = round(settings.dollars * MILLION)
        self.alert_from = round(settings.dollars * settings.alert_at * MILLION)
        self.shown = settings.per == "all"  # its use has one number
        self._settings = settings
        self._zone = ZoneInfo(settings.timezone)
        self._window = _NEVER

    def covers(self, call: Call) -> bool:
        """Say whether the call counts against it."""
        settings = self._settings
        return (not settings.callers or _matches(call.caller, settings.callers)) and (
            not settings.models or _matches(call.model, settings.models)
        )

    def window(self, now: float) -> Window:
        """Return the window at `now`, in seconds since 1970."""
        window = self._window
        if not window.begins_at <= now < window.ends_at:
            window = self._window = window_of(self._settings.window, now, self._zone)
        return window

    def purse(self, call: Call, window: Window) -> str:
        """Name what the call is paid from."""
        if self._settings.per == "caller":
            return f"{self.name}/{call.caller} {window.id}"
        return f"{self.name} {window.id}"

    def keep_s(self, window: Window, now: float) -> float:
        """Say how long its purse must be remembered; 0 is for ever."""
        return 0.0 if math.isinf(window.ends_at) else window.ends_at - now + LATE_S


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
