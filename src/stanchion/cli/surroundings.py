"""What settings refer to outside themselves: keys and files that must be there before a process begins."""

from __future__ import annotations

import ssl
from typing import NoReturn

from stanchion.core.errors import SettingsError
from stanchion.engine.catalog import Catalog
from stanchion.engine.config import Loaded


def check_surroundings(loaded: Loaded) -> None:
    """Raise SettingsError for a key that is missing or a file that cannot be used."""
    Catalog(loaded.settings, loaded.environ, _never)  # looks up every provider's keys
    ca_file = loaded.settings.http.ca_file
    if not ca_file:
        return
    try:
        ssl.create_default_context().load_verify_locations(ca_file)
    except ssl.SSLError:
        raise SettingsError(f"http.ca_file: {ca_file} holds no certificates in PEM form") from None
    except OSError as error:
        raise SettingsError(f"http.ca_file: {ca_file} cannot be read: {error.strerror}") from None


def _never(_: object) -> NoReturn:
    raise AssertionError("a catalog makes endpoints when they are asked for")  # pragma: no cover
