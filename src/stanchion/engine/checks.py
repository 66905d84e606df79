"""What the types of the settings cannot say: values in range, names that exist, keys that are there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from stanchion.core.errors import SettingsError
from stanchion.engine.settings import SECTIONS, ProviderSettings, Settings
from stanchion.providers.presets import PRESETS

_MAY_BE_ZERO = frozenset(
    {
        "deadline.total_s",
        "gateway.port",
        "gateway.heartbeat_s",
        "gateway.drain_s",
        "gateway.drain_notice_s",
        "retry.base_s",
        "retry.budget_ratio",
        "retry.budget_floor",
        "resume.most",
        "balance.wait_most_s",
        "idempotency.life_s",
    }
)


def check(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raise SettingsError at the first thing that cannot work, and say what to write instead."""
    for section in SECTIONS:
        _check_numbers(section, getattr(settings, section))
    if settings.gateway.port > 65535:
        raise SettingsError("gateway.port must be at most 65535")
    for name, provider in settings.providers.items():
        _check_provider(name, provider, environ)
    for name, route in settings.routes.items():
        if not route.balance:
            raise SettingsError(f'routes.{name}.balance must name at least one "provider/model"')
        for target in (*route.balance, *route.fallback):
            _check_target(f"routes.{name}", target, settings, may_be_route=target in route.fallback)


def _check_numbers(section: str, options: msgspec.Struct) -> None:
    for field in options.__struct_fields__:
        value = getattr(options, field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        key = f"{section}.{field}"
        if value < 0 or (value == 0 and key not in _MAY_BE_ZERO):
            raise SettingsError(
                f"{key} is {value}: it must be {'0 or more' if key in _MAY_BE_ZERO else 'more than 0'}"
            )


def _check_provider(name: str, provider: ProviderSettings, environ: Mapping[str, str]) -> None:
    at = f"providers.{name}"
    if "/" in name:
        raise SettingsError(f"{at}: a provider's name holds no '/'")
    preset = PRESETS.get(provider.preset)
    if preset is None:
        near = difflib.get_close_matches(provider.preset, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(PRESETS)}"
        raise SettingsError(f"{at}.preset: there is no preset {provider.preset!r}; {hint}")
    base_url = provider.base_url or preset.base_url
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f'{at}.base_url must be a URL such as "https://api.openai.com/v1", not {base_url!r}'
        )
    if parts.username or parts.password:
        raise SettingsError(f"{at}.base_url holds a password: put keys into key_env or key_file")
    if provider.weight <= 0:
        raise SettingsError(f"{at}.weight must be more than 0")
    for header, value in provider.headers.items():
        if not header.isascii() or any(ord(c) < 32 or ord(c) == 127 for c in header + value):
            raise SettingsError(f"{at}.headers: {header!r} has a name or value that cannot be sent")
    for variable in provider.key_env:
        if not environ.get(variable):
            raise SettingsError(f"{at}.key_env: the environment variable {variable} is not set")


def _check_target(at: str, target: str, settings: Settings, *, may_be_route: bool) -> None:
    if may_be_route and target in settings.routes:
        return
    provider, slash, model = target.partition("/")
    if not slash or not model:
        raise SettingsError(
            f'{at}: {target!r} must be "provider/model"' + (" or a route" if may_be_route else "")
        )
    if provider not in settings.providers:
        near = difflib.get_close_matches(provider, settings.providers, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"known are {', '.join(settings.providers) or 'none'}"
        )
        raise SettingsError(f"{at}: there is no provider {provider!r}; {hint}")
