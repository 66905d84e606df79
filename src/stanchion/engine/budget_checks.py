"""What the types of the settings cannot say of budgets: amounts in range, zones that exist, prices that are there."""

from __future__ import annotations

import math
from zoneinfo import ZoneInfo

from stanchion.core.errors import SettingsError
from stanchion.engine.settings import Settings

MOST_DOLLARS = 1e9  # beyond it micro-dollars are no longer exact in every store


def check_budgets(settings: Settings) -> None:
    """Raise SettingsError at the first budget that cannot work, and say what to write instead."""
    for name, budget in settings.budgets.items():
        at = f"budgets.{name}"
        if not 0 <= budget.dollars <= MOST_DOLLARS:
            raise SettingsError(f"{at}.dollars is {budget.dollars}: it must be from 0 to {MOST_DOLLARS:.0f}")
        if not 0 < budget.alert_at < math.inf:
            raise SettingsError(f"{at}.alert_at is {budget.alert_at}: it must be more than 0, such as 0.8")
        try:
            ZoneInfo(budget.timezone)
        except (KeyError, ValueError, OSError):
            raise SettingsError(
                f"{at}.timezone: there is no time zone {budget.timezone!r}; write UTC or one such as Europe/Berlin"
            ) from None
