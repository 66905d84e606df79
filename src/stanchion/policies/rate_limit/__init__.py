"""Keeping to the providers' rate limits, alone or together with other processes."""

from stanchion.policies.rate_limit.limiter import RateLimit
from stanchion.policies.rate_limit.options import NO_QUOTA, Quota, RateLimitOptions, SharedLimits

__all__ = ["NO_QUOTA", "Quota", "RateLimit", "RateLimitOptions", "SharedLimits"]
