"""Which budgets a call counts against, and the purse of each at this moment."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from stanchion.core.call import Call
from stanchion.policies.budget.options import BudgetSettings, Per
from stanchion.rules.pricing import MILLION
from stanchion.rules.windows import Window, window_of
from stanchion.stores.budgets import LATE_S

_NEVER = Window("", math.inf, -math.inf)
Paid = tuple[
    "Account", str, float
]  # a budget, the name of a purse of its, and how long that must be remembered


class Account:
    """One configured budget."""

    def __init__(self, name: str, settings: BudgetSettings) -> None:
        """Raises ZoneInfoNotFoundError, or ValueError, where there is no such zone."""
        self.name = name
        self.cap = round(settings.dollars * MILLION)
        self.alert_from = round(settings.dollars * settings.alert_at * MILLION)
        self.shown = settings.per == "all"  # its use has one number
        self._settings = settings
        self.covers_all = not settings.callers and not settings.teams and not settings.models
        self._zone = ZoneInfo(settings.timezone)
        self._window = _NEVER
        self._name = ""  # of the purse of the window, where all pay from one

    def covers(self, call: Call) -> bool:
        """Say whether the call counts against it."""
        if self.covers_all:
            return True
        settings = self._settings
        return (
            (not settings.callers or _matches(call.caller, settings.callers))
            and (not settings.teams or _matches(call.team, settings.teams))
            and (not settings.models or _matches(call.model, settings.models))
        )

    def window(self, now: float) -> Window:
        """Return the window at `now`, in seconds since 1970."""
        window = self._window
        if not window.begins_at <= now < window.ends_at:
            window = self._window = window_of(self._settings.window, now, self._zone)
            self._name = f"{self.name} {window.id}"
        return window

    def purse(self, call: Call, now: float) -> Paid:
        """Return what a call is paid from at `now`; 0 seconds to be remembered are for ever."""
        window = self._window
        if not window.begins_at <= now < window.ends_at:
            window = self.window(now)
        ends_at = window.ends_at
        keep_s = 0.0 if ends_at == math.inf else ends_at - now + LATE_S
        if self.shown:
            return self, self._name, keep_s
        return self, f"{self.name}/{_who(call, self._settings.per)} {window.id}", keep_s


def _who(call: Call, per: Per) -> str:
    """Name whose purse it is; calls that name nobody there share one."""
    if per == "caller":
        return call.caller
    if per == "team":
        return call.team
    if per == "key":
        return call.caller_key
    fields = call.body.fields
    user = fields.get("safety_identifier") or fields.get("user")
    if not isinstance(user, str) or not user:
        return ""
    # names of end users can be addresses of people: they leave as a digest, and are one caller's own
    return hashlib.blake2b(f"{call.caller}\0{user}".encode("utf-8", "replace"), digest_size=8).hexdigest()


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
