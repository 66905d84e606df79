"""What a client is made from: the settings as every face reads them, with the constructor's words over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from stanchion.core.errors import SettingsError
from stanchion.core.secret import Secret
from stanchion.engine.catalog import Catalog
from stanchion.engine.checks import check
from stanchion.engine.config import Environ, Loaded, load
from stanchion.engine.settings import ProviderSettings

Config = Path | str | Loaded | None
_KEY = "api_key"  # the name under which a key given as an argument is looked up, beside the environment
_OPENAI_KEY = "OPENAI_API_KEY"
_NO_PROVIDER = (
    "no provider is configured: set OPENAI_API_KEY, or write a stanchion.toml with a [providers] table, "
    "or pass base_url and api_key; to try it without a key run `stanchion simulate` and pass "
    'base_url="http://127.0.0.1:8090/v1"'
)


def configured(
    config: Config, *, key: Secret | None, base_url: str | None, settings: Mapping[str, Any] | None
) -> Loaded:
    """Return the settings of a client, checked, with its keys present.  Raises SettingsError.

    `key` and `base_url` name one provider that serves every model, in place of all configured ones.
    """
    try:
        loaded = _loaded(config, settings)
        if key is not None or base_url:
            loaded = _with_provider(loaded, key, base_url)
        elif loaded.simulated:
            raise SettingsError(_NO_PROVIDER)
        Catalog(loaded.settings, loaded.environ, _never)  # a key that is missing is told now, not at a call
    except SettingsError as error:
        # the frames below hold the environment, and with it every key, in their locals
        raise error.with_traceback(None) from None
    return loaded


def _loaded(config: Config, settings: Mapping[str, Any] | None) -> Loaded:
    if not isinstance(config, Loaded):
        return load(config, flags=settings)
    if settings:
        raise SettingsError(
            "settings cannot be laid over a loaded configuration: pass them to load(flags=...)"
        )
    return config


def _with_provider(loaded: Loaded, key: Secret | None, base_url: str | None) -> Loaded:
    environ = Environ(loaded.environ)
    base_url = base_url or environ.get("OPENAI_BASE_URL", "")
    named = _OPENAI_KEY if environ.get(_OPENAI_KEY) else ""
    if key is not None:
        environ[_KEY], named = key.reveal(), _KEY
    provider = ProviderSettings(
        preset="compatible" if base_url else "openai",
        base_url=base_url,
        key_env=(named,) if named else (),
        models=(),
    )
    settings = msgspec.structs.replace(loaded.settings, providers={"openai": provider})
    check(settings, environ)
    return msgspec.structs.replace(loaded, settings=settings, environ=environ, simulated=False)


def sealed(key: str | Secret | None) -> tuple[Secret | None, str]:
    """Return the key as a Secret and "", or None and what is wrong with it.

    Raises nothing: the frame that calls still holds the key in the clear, and is to let go of it first.
    """
    if key is None or isinstance(key, Secret):
        return key, ""
    try:
        return Secret(key, name="api_key"), ""
    except ValueError as error:
        return None, str(error)


def _never(_: object) -> NoReturn:
    raise AssertionError("a catalog makes endpoints when they are asked for")  # pragma: no cover
