"""What budgets are told: how money is kept together, and one budget."""

from __future__ import annotations

from typing import Literal

import msgspec

from stanchion.rules.windows import WindowKind

Per = Literal["all", "team", "caller", "key", "user"]


class BudgetOptions(msgspec.Struct, frozen=True):
    """How calls are kept to the budgets."""

    answer_tokens: int = 4096  # held for an answer whose length the caller does not bound
    least_tokens: int = 16  # an answer that could not even have so many tokens is refused
    lease_s: float = (
        60.0  # seconds after which the hold of a process that died is over; renewed while a call runs
    )
    crashed: Literal["count", "release"] = "count"  # what such a hold was: spent, or nothing
    lost: Literal["share", "refuse"] = "share"  # while the store is lost


class BudgetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One budget: so many dollars in each window."""

    dollars: float
    window: WindowKind = "month"
    timezone: str = "UTC"  # whose midnight counts: "Europe/Berlin"
    callers: tuple[str, ...] = ()  # patterns of callers whose calls count; empty is all
    teams: tuple[str, ...] = ()  # patterns of their teams; empty is all
    models: tuple[str, ...] = ()  # patterns of what they write as `model`; empty is all
    per: Per = "all"  # each team, caller, key or end user has so many dollars for itself
    alert_at: float = 0.8  # part of it at which the log says so
