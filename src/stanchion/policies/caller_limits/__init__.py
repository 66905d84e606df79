"""Limits of callers: which count for a call, and what it takes of them."""

from stanchion.policies.caller_limits.limits import CallerLimits, OwnLimits, Store, own_limits

__all__ = ["CallerLimits", "OwnLimits", "Store", "own_limits"]
