"""Budgets: what may a call cost, is that left, and what did it cost really."""

from stanchion.policies.budget.accounts import Account
from stanchion.policies.budget.budget import Again, Budget
from stanchion.policies.budget.keeper import Keeper
from stanchion.policies.budget.options import BudgetOptions, BudgetSettings

__all__ = ["Account", "Again", "Budget", "BudgetOptions", "BudgetSettings", "Keeper"]
