"""From a provider's settings to its keys: what each is called, and the source that holds it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from stanchion.core.errors import SettingsError
from stanchion.keys.aws import AwsSource
from stanchion.keys.environment import EnvironmentSource
from stanchion.keys.file import FileSource
from stanchion.keys.options import KeySettings, KeysOptions
from stanchion.keys.program import ProgramOptions, ProgramSource
from stanchion.keys.source import KeySource

_FILE = "_FILE"  # at the end of a variable: it names a file, as Docker's images have it
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LIKE_A_KEY = re.compile(r"sk-\S{12,}")


class Place(msgspec.Struct, frozen=True):
    """One key: its name within its provider, and where it is."""

    name: str
    source: KeySource
    settings: KeySettings


def places_of(
    at: str, keys: Sequence[KeySettings], environ: Mapping[str, str], options: KeysOptions
) -> list[Place]:
    """Return the places of a provider's keys.  `at` stands in messages.  Raises SettingsError; reads none of them."""
    places = [_place(f"{at}.keys", each, environ, options) for each in keys]
    names = [place.name for place in places]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"{at}: two keys are called {twice!r}; give each a `name` in [[{at}.keys]]")
    return places


def check_key(at: str, key: KeySettings) -> None:
    """Raise SettingsError if it is not said where the key is, or is said twice.  Never shows what may be a key."""
    said = [each for each in (key.env, key.file, key.exec, key.aws) if each]
    if len(said) != 1:
        raise SettingsError(f"{at} must have exactly one of env, file, exec and aws")
    if key.env and not _VARIABLE.fullmatch(key.env):
        raise SettingsError(f"{at}.env must be the name of an environment variable, never the key itself")
    if _LIKE_A_KEY.match(key.file) or _LIKE_A_KEY.match(key.aws) or _LIKE_A_KEY.match(key.name):
        raise SettingsError(f"{at} seems to hold a key: it must say where the key is")
    if key.name and not _NAME.fullmatch(key.name):
        raise SettingsError(f"{at}.name may hold letters, digits, '.', '_' and '-' only")


def variable_is_set(variable: str, environ: Mapping[str, str]) -> bool:
    """Say whether a variable holds a key, or the one with _FILE at its end names a file."""
    return bool(environ.get(variable) or environ.get(variable + _FILE))


def _place(at: str, key: KeySettings, environ: Mapping[str, str], options: KeysOptions) -> Place:
    check_key(at, key)
    if key.env:
        return Place(key.name or key.env, _of_variable(at, key.env, environ, options), key)
    if key.file:
        path = Path(key.file)
        return Place(key.name or _plain(path.name), FileSource(path, options.reread_s), key)
    if key.aws:
        source = AwsSource(key.aws, options.fetch_s, field=key.aws_field, region=key.aws_region)
        return Place(key.name or _plain(key.aws.rpartition("/")[2].rpartition(":")[2]), source, key)
    run = ProgramOptions(every_s=options.fetch_s, timeout_s=options.exec_timeout_s, sees=key.exec_env)
    return Place(key.name or _plain(Path(key.exec[0]).name), ProgramSource(key.exec, environ, run), key)


def _of_variable(
    at: str, variable: str, environ: Mapping[str, str], options: KeysOptions
) -> EnvironmentSource | FileSource:
    file = environ.get(variable + _FILE)
    if not file:
        return EnvironmentSource(variable, environ)
    if environ.get(variable):
        raise SettingsError(f"{at}: both {variable} and {variable}{_FILE} are set; unset one of them")
    return FileSource(Path(file), options.reread_s)


def _plain(text: str) -> str:
    """Make a name of a file's or a secret's."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:64].strip("-") or "key"
