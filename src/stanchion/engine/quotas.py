"""What the settings say of a provider's rate limits, as the policy reads it."""

from __future__ import annotations

from stanchion.engine.settings import ProviderSettings
from stanchion.policies.rate_limit import Quota
from stanchion.providers.presets import Preset
from stanchion.rules.ceilings import NO_CEILINGS, Ceilings


def quota_of(provider: ProviderSettings, preset: Preset) -> Quota:
    """Lay the configured limits of a provider over what its preset knows."""
    limits = provider.limits
    told = Ceilings(
        requests_per_minute=limits.requests_per_minute,
        requests_per_day=limits.requests_per_day,
        tokens_per_minute=limits.tokens_per_minute,
        tokens_per_day=limits.tokens_per_day,
    )
    ceiling = limits.are == "ceiling"
    return Quota(
        ceilings=told if ceiling else NO_CEILINGS,
        starts=NO_CEILINGS if ceiling else told,
        careful=preset.auth != "none",
        open_most=provider.open_most,
        reserves_output=preset.reserves_output,
    )
