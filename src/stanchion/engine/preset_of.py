"""A provider's preset with its settings laid over it."""

from __future__ import annotations

from stanchion.engine.settings import ProviderSettings
from stanchion.providers.presets import PRESETS, BatchLimits, Preset


def preset_of(settings: ProviderSettings) -> Preset:
    """Lay a provider's settings over its preset."""
    preset = PRESETS[settings.preset]
    return Preset(
        base_url=(settings.base_url or preset.base_url).rstrip("/"),
        key_env=preset.key_env,
        models=preset.models,
        auth=settings.auth or preset.auth,
        done=preset.done if settings.done is None else settings.done,
        reserves_output=(
            preset.reserves_output if settings.reserves_output is None else settings.reserves_output
        ),
        stream_usage=preset.stream_usage if settings.stream_usage is None else settings.stream_usage,
        batches=_batches(settings, preset),
        flex=preset.flex if settings.flex is None else settings.flex,
    )


def _batches(settings: ProviderSettings, preset: Preset) -> BatchLimits | None:
    """Return the limits of its Batch API, if it is said or known to have one."""
    if settings.batches is None:
        return preset.batches
    return (preset.batches or BatchLimits()) if settings.batches else None
