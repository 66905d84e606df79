"""The settings in force as a flat list: key, value, and where the value came from.  No secret is among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from stanchion.engine.config import Loaded
from stanchion.engine.settings import ROUTE_SECTIONS, SECTIONS, TABLES, ProviderSettings
from stanchion.providers.presets import PRESETS, Preset

_PASSWORD = re.compile(r"(?<=://)[^/@]*@")  # of a URL, with the name
HIDDEN = "***"


class Effective(msgspec.Struct, frozen=True):
    """One setting."""

    key: str
    value: Any
    origin: str  # "default", a file, a variable, "the command line", "preset openai"


def effective(loaded: Loaded) -> Iterator[Effective]:
    """List every setting in force."""
    settings, origins = loaded.settings, loaded.origins
    for section in SECTIONS:
        yield from _fields(section, getattr(settings, section), origins)
    for name, provider in settings.providers.items():
        yield from _provider(f"providers.{name}", provider, origins)
    for table in (each for each in TABLES if each != "providers"):
        for name, options in getattr(settings, table).items():
            yield from _fields(f"{table}.{name}", options, origins)


def _fields(at: str, options: msgspec.Struct, origins: Mapping[str, str]) -> Iterator[Effective]:
    for field in options.__struct_fields__:
        key, value = f"{at}.{field}", getattr(options, field)
        if isinstance(value, msgspec.Struct) and field in ROUTE_SECTIONS:
            yield from _route_section(key, field, value, origins)
        elif value is not None:
            shown = _PASSWORD.sub(f"{HIDDEN}@", value) if isinstance(value, str) else value
            yield Effective(key, shown, origins.get(key, "default"))


def _route_section(
    key: str, section: str, options: msgspec.Struct, origins: Mapping[str, str]
) -> Iterator[Effective]:
    """List a policy section of a route; what it does not say comes from the general one."""
    for each in _fields(key, options, origins):
        if each.origin == "default":
            general = f"{section}.{each.key.rsplit('.', 1)[1]}"
            yield Effective(each.key, each.value, origins.get(general, "default"))
        else:
            yield each


def _provider(at: str, provider: ProviderSettings, origins: Mapping[str, str]) -> Iterator[Effective]:
    """List a provider; what it does not say comes from its preset.  Of a header only the name is shown."""
    preset = PRESETS[provider.preset]
    for field in provider.__struct_fields__:
        key, value = f"{at}.{field}", getattr(provider, field)
        origin = origins.get(key, "default")
        if field == "preset":
            origin = origins.get(key) or origins.get(at, "default")
        elif key not in origins and value in (None, "", ()):
            value, origin = _of_preset(preset, field), f"preset {provider.preset}"
        if field == "headers":
            for name in provider.headers:
                yield Effective(f"{key}.{name}", HIDDEN, origins.get(f"{key}.{name}", origin))
        elif field == "keys":
            yield from _keys(key, provider, origin)
        elif value not in (None, "", ()):
            yield Effective(key, value, origin)


def _keys(at: str, provider: ProviderSettings, origin: str) -> Iterator[Effective]:
    """List where a provider's keys are; of a program only its name: an argument may be confidential."""
    for number, key in enumerate(provider.keys):
        for field in msgspec.structs.fields(key):
            value = getattr(key, field.name)
            if value != field.default:
                shown = (*value[:1], *([HIDDEN] if value[1:] else ())) if field.name == "exec" else value
                yield Effective(f"{at}[{number}].{field.name}", shown, origin)


def _of_preset(preset: Preset, field: str) -> Any:
    value = getattr(preset, field, None)
    return (value,) if field == "key_env" and value else value
