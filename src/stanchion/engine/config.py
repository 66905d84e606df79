"""Read the settings: built-in defaults < file < environment < flags.  The one reader of the environment.

An unknown key is an error that names the nearest right one; every value remembers where it came from.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stanchion.core.errors import SettingsError
from stanchion.engine.checks import check
from stanchion.engine.settings import ROUTE_SECTIONS, SECTIONS, TABLES, Settings
from stanchion.keys.options import KeySettings
from stanchion.keys.places import variable_is_set
from stanchion.providers.presets import PRESETS
from stanchion.wire.objects import as_list, as_object

FILE_NAME = "stanchion.toml"
PREFIX = "STANCHION_"
_NOT_SETTINGS = frozenset(
    {"STANCHION_CONFIG", "STANCHION_HOME", "STANCHION_ADMIN_TOKEN"}
)  # read here or by a face, by name


class Environ(dict[str, str]):
    """The environment, which holds keys: it does not print, so a traceback with locals stays clean."""

    def __repr__(self) -> str:
        return f"<Environ of {len(self)} variables>"


class Loaded(msgspec.Struct, frozen=True):
    """Settings and where each value came from: {"retry.attempts": "STANCHION_RETRY_ATTEMPTS"}."""

    settings: Settings
    origins: Mapping[str, str]
    file: Path | None  # the file that was read
    simulated: bool  # no provider is configured: the simulator is to stand in
    environ: Mapping[str, str]  # where keys are looked up; never printed

    def __repr__(self) -> str:
        return f"<Loaded from {self.file or 'defaults'}>"  # never the environment: it holds keys


def load(
    file: Path | str | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read the settings.  `flags` are {"retry.attempts": "5"}.  Raises SettingsError, which says what to write.

    Without `file`: `STANCHION_CONFIG`, then `stanchion.toml` in the current directory, then none.
    """
    environ = Environ(os.environ if environ is None else environ)
    path = _find(file, environ)
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        _lay(tree, origins, _read_toml(path), str(path))
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            _put(tree, origins, _key_of_variable(name), value, name)
    for key, value in (flags or {}).items():
        _put(tree, origins, key, value, "the command line")
    _add_providers_with_keys(tree, origins, environ)
    simulated = not tree.get("providers")
    _refuse_unknown(tree, origins)
    _fill_routes(tree)
    settings = _convert(tree, origins)
    check(settings, environ)
    return Loaded(settings, origins, path, simulated, environ)


def _find(file: Path | str | None, environ: Mapping[str, str]) -> Path | None:
    named = file or environ.get("STANCHION_CONFIG")
    if named:
        path = Path(named)
        if not path.is_file():
            raise SettingsError(f"there is no configuration file {path}")
        return path
    here = Path(FILE_NAME)
    return here if here.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def _lay(
    tree: dict[str, Any], origins: dict[str, str], more: dict[str, Any], origin: str, at: str = ""
) -> None:
    """Lay a tree of values over another and note where each came from."""
    for name, value in more.items():
        key = f"{at}.{name}" if at else name
        if isinstance(value, dict):
            below = tree.setdefault(name, {})
            if isinstance(below, dict):
                _lay(below, origins, value, origin, key)  # pyright: ignore[reportUnknownArgumentType]
                continue
        tree[name] = value
        origins[key] = origin


def _put(tree: dict[str, Any], origins: dict[str, str], key: str, value: Any, origin: str) -> None:
    """Put one value at a dotted key."""
    *path, last = key.split(".")
    for name in path:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingsError(f"{origin}: {key!r} goes through something that is no table")
    if isinstance(value, str) and value.startswith(("[", "{")):
        value = _list(value, key, origin)
    tree[last] = value
    origins[key] = origin


def _list(text: str, key: str, origin: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise SettingsError(
            f'{key} from {origin} must be a list such as ["a", "b"], or a table: {{ a = 1 }}'
        ) from None


def _key_of_variable(name: str) -> str:
    """STANCHION_ATTEMPT_TIMEOUT_STALL_S -> attempt_timeout.stall_s.  Raises SettingsError."""
    rest = name[len(PREFIX) :].lower()
    for section, kind in SECTIONS.items():
        field = rest.removeprefix(f"{section}_")
        if field != rest and field in kind.__struct_fields__:
            return f"{section}.{field}"
    known = [
        _variable(section, field) for section, kind in SECTIONS.items() for field in kind.__struct_fields__
    ]
    raise SettingsError(f"the environment variable {name} is unknown{_nearest(name, known)}")


def _variable(section: str, field: str) -> str:
    return f"{PREFIX}{section}_{field}".upper()


def _add_providers_with_keys(
    tree: dict[str, Any], origins: dict[str, str], environ: Mapping[str, str]
) -> None:
    """Without any provider in the file: those whose key is in the environment under its usual name."""
    if tree.get("providers"):
        return
    found: dict[str, Any] = {}
    for name, preset in PRESETS.items():
        if preset.key_env and preset.base_url and variable_is_set(preset.key_env, environ):
            found[name] = {"preset": name}
            origins[f"providers.{name}"] = preset.key_env
    base_url = environ.get("OPENAI_BASE_URL")
    if "openai" in found and base_url:
        found["openai"] |= {"base_url": base_url, "models": []}
        origins["providers.openai.base_url"] = "OPENAI_BASE_URL"
    if found:
        tree["providers"] = found


def _refuse_unknown(tree: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    for name, value in tree.items():
        if name in SECTIONS:
            _refuse_fields(name, value, SECTIONS[name].__struct_fields__, origins)
        elif name in TABLES:
            for item, below in _table(name, value).items():
                _refuse_fields(f"{name}.{item}", below, TABLES[name].__struct_fields__, origins)
                for number, key in enumerate(as_list(below.get("keys")) or ()) if name == "providers" else ():
                    _refuse_fields(
                        f"{name}.{item}.keys[{number}]", key, KeySettings.__struct_fields__, origins
                    )
                for section in ROUTE_SECTIONS if name == "routes" else ():
                    if section in below:
                        fields = SECTIONS[section].__struct_fields__
                        _refuse_fields(f"{name}.{item}.{section}", below[section], fields, origins)
        else:
            raise SettingsError(
                f"unknown section [{name}] in {_origin(name, origins)}{_nearest(name, [*SECTIONS, *TABLES])}"
            )


def _refuse_fields(at: str, value: Any, known: Iterable[str], origins: Mapping[str, str]) -> None:
    for field in _table(at, value):
        if field not in known:
            raise SettingsError(
                f"unknown key {at}.{field} in {_origin(f'{at}.{field}', origins)}{_nearest(field, known)}"
            )


def _table(at: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"[{at}] must be a table")
    return value  # pyright: ignore[reportUnknownVariableType]


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """Say where a key came from, or the first one below it."""
    below = f"{key}."
    return origins.get(key) or next((o for k, o in origins.items() if k.startswith(below)), "the settings")


def _nearest(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else f"; known are {', '.join(sorted(known))}"


def _fill_routes(tree: Mapping[str, Any]) -> None:
    """Lay a route's policy sections over the general ones: a route says only what differs."""
    for route in _tables(tree, "routes"):
        for section in ROUTE_SECTIONS:
            if section in route:
                route[section] = {**(tree.get(section) or {}), **route[section]}


def _tables(tree: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the tables below [name]; those that are none were refused before."""
    found = as_object(tree.get(name)) or {}
    return [table for each in found.values() if (table := as_object(each)) is not None]


def _convert(tree: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    for table, name in (("providers", "key_env"), ("providers", "key_file"), ("routes", "balance")):
        for item in _tables(tree, table):
            if isinstance(item.get(name), str):
                item[name] = [item[name]]
    try:
        return msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`")
        raise SettingsError(f"{key} in {_origin(key, origins)}: {what[:1].lower()}{what[1:]}") from None
