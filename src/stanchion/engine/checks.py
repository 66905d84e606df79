"""What the types of the settings cannot say: values in range, names that exist, keys that are there."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from stanchion.core.errors import SettingsError
from stanchion.core.usage import CLASSES
from stanchion.engine.budget_checks import check_budgets
from stanchion.engine.meaning import check_semantic_cache
from stanchion.engine.settings import ROUTE_SECTIONS, SECTIONS, ProviderSettings, RouteSettings, Settings
from stanchion.keys.options import KeySettings
from stanchion.keys.places import check_key, variable_is_set
from stanchion.policies.hedge import HedgeOptions
from stanchion.providers.presets import PRESETS
from stanchion.rules.caller_scope import read_network
from stanchion.stores.opening import check_address

_PRICE_MOST = 1_000_000  # for a million tokens: more is a slip, and sums of it would not fit
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
        "line.batch_wait_most_s",
        "line.open_most",
        "stores.replicas_least",
        "line.caller_open_most",
        "idempotency.life_s",
        "pricing.unknown_input",
        "pricing.unknown_output",
        "ledger.keep_days",
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
    _check_line(settings)
    _check_hedge("hedge", settings.hedge)
    _check_proxies(settings)
    _check_prices(settings)
    check_budgets(settings)
    check_semantic_cache(settings)
    _check_ca_file(settings)
    _check_stores(settings)
    for name, route in settings.routes.items():
        _check_route(f"routes.{name}", route, settings)


def _check_line(settings: Settings) -> None:
    if settings.line.batch_share >= 1:
        raise SettingsError("line.batch_share must be less than 1: the rest is for interactive calls")
    for caller, weight in settings.line.weights.items():
        if not 0 < weight < math.inf:
            raise SettingsError(f"line.weights.{caller} is {weight}: it must be more than 0")


def _check_hedge(at: str, hedge: HedgeOptions) -> None:
    if hedge.quantile >= 1:
        raise SettingsError(f"{at}.quantile is {hedge.quantile}: it must be less than 1, such as 0.95")
    for name in ("extra_most", "fill_most"):
        if getattr(hedge, name) > 1:
            raise SettingsError(f"{at}.{name} is {getattr(hedge, name)}: it is a part, 1 at most")


def _check_proxies(settings: Settings) -> None:
    for network in settings.callers.trusted_proxies:
        try:
            read_network(network)
        except ValueError as error:
            raise SettingsError(f"callers.trusted_proxies: {error}") from None


def _check_prices(settings: Settings) -> None:
    for name, price in settings.prices.items():
        for field in CLASSES:
            told = getattr(price, field)
            if told is not None and not 0 <= told <= _PRICE_MOST:
                raise SettingsError(f"prices.{name}.{field} is {told}: it must be 0 to {_PRICE_MOST}")


def _check_ca_file(settings: Settings) -> None:
    file = settings.http.ca_file
    try:
        if file:
            Path(file).open("rb").close()
    except OSError as error:
        raise SettingsError(f"http.ca_file: {file} cannot be read: {error.strerror}") from None


def _check_stores(settings: Settings) -> None:
    for name in ("keys", "limits"):
        address: str = getattr(settings.stores, name)
        if address:
            try:
                check_address(address)
            except SettingsError as error:
                raise SettingsError(f"stores.{name}: {error}") from None


def _check_route(at: str, route: RouteSettings, settings: Settings) -> None:
    if not route.balance:
        raise SettingsError(f'{at}.balance must name at least one "provider/model"')
    for section in ROUTE_SECTIONS:
        options = getattr(route, section)
        if options is not None:
            _check_numbers(section, options, f"{at}.{section}")
    if route.hedge is not None:
        _check_hedge(f"{at}.hedge", route.hedge)
    for target in (*route.balance, *route.fallback):
        _check_target(at, target, settings, may_be_route=target in route.fallback)


def _check_numbers(section: str, options: msgspec.Struct, at: str = "") -> None:
    """`section` says which rules hold; `at` is where it stands, if that is not the section itself."""
    for field in options.__struct_fields__:
        value = getattr(options, field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        key = f"{section}.{field}"
        if not math.isfinite(value) or value < 0 or (value == 0 and key not in _MAY_BE_ZERO):
            bound = "0 or more" if key in _MAY_BE_ZERO else "more than 0"
            raise SettingsError(f"{at or section}.{field} is {value}: it must be {bound}")


def _check_provider(name: str, provider: ProviderSettings, environ: Mapping[str, str]) -> None:
    at = f"providers.{name}"
    if "/" in name:
        raise SettingsError(f"{at}: a provider's name holds no '/'")
    preset = PRESETS.get(provider.preset)
    if preset is None:
        near = difflib.get_close_matches(provider.preset, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(PRESETS)}"
        raise SettingsError(f"{at}.preset: there is no preset {provider.preset!r}; {hint}")
    _check_url(f"{at}.base_url", provider.base_url or preset.base_url)
    if not 0 < provider.weight < math.inf:
        raise SettingsError(f"{at}.weight must be more than 0")
    if provider.open_most < 0:
        raise SettingsError(f"{at}.open_most must be 0, which is any number, or more")
    for header, value in provider.headers.items():
        if not (header + value).isascii() or any(ord(c) < 32 or ord(c) == 127 for c in header + value):
            raise SettingsError(f"{at}.headers: {header!r} has a name or value that cannot be sent")
    _check_keys(at, provider, environ)


def _check_keys(at: str, provider: ProviderSettings, environ: Mapping[str, str]) -> None:
    for variable in provider.key_env:
        check_key(f"{at}.key_env", KeySettings(env=variable))
        if not variable_is_set(variable, environ):
            raise SettingsError(f"{at}.key_env: the environment variable {variable} is not set")
    for file in provider.key_file:
        check_key(f"{at}.key_file", KeySettings(file=file))
    for number, key in enumerate(provider.keys):
        check_key(f"{at}.keys[{number}]", key)
        if not 0 < key.weight < math.inf:
            raise SettingsError(f"{at}.keys[{number}].weight must be more than 0")


def _check_url(at: str, base_url: str) -> None:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f'{at} must be a URL such as "https://api.openai.com/v1", not {base_url!r}')
    try:
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        raise SettingsError(f"{at} has a port that is none: {base_url!r}") from None
    if parts.username or parts.password:
        raise SettingsError(f"{at} holds a password: name the key's place in key_env, key_file or keys")


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
