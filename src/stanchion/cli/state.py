"""Where a process that serves keeps its files, and the settings that follow from it."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import quote

import msgspec

from stanchion.engine.config import Loaded
from stanchion.observe.logs import log_event

log = logging.getLogger(__name__)
KEY_BOOK = "keys.db"
CALLER_BOOK = "callers.db"
LEDGER = "ledger.db"
BUDGETS = "budgets.db"


def with_state(loaded: Loaded) -> Loaded:
    """Lay files of the state directory under the settings where they name no store for them.

    If the directory cannot be made or written, they are kept in memory, and that is said.
    """
    stores = loaded.settings.stores
    if stores.keys and stores.callers and stores.ledger and stores.budgets:
        return loaded
    directory = state_directory(loaded)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / ".written").touch(mode=0o600)
        names = (KEY_BOOK, CALLER_BOOK, LEDGER, BUDGETS)
        addresses = [f"sqlite://{quote(str(directory / name))}" for name in names]
    except OSError as error:
        log_event(
            log,
            logging.WARNING,
            "state.not_kept",
            directory=str(directory),
            why=type(error).__name__,
            then="`stanchion keys`, `callers` and `usage` cannot see this process; set stores.directory",
        )
        addresses = ["memory", "memory", "off", "memory"]
    stores = msgspec.structs.replace(
        stores,
        keys=stores.keys or addresses[0],
        callers=stores.callers or addresses[1],
        ledger=stores.ledger or addresses[2],
        budgets=stores.budgets or addresses[3],
    )
    return msgspec.structs.replace(loaded, settings=msgspec.structs.replace(loaded.settings, stores=stores))


def state_directory(loaded: Loaded) -> Path:
    """Return the directory of files that are kept, as an absolute path."""
    named = loaded.settings.stores.directory
    if named:
        return Path(named).expanduser().absolute()
    base = loaded.environ.get("XDG_STATE_HOME", "")
    home = Path(loaded.environ.get("HOME") or Path.home()) / ".local" / "state"
    return (Path(base) if base.startswith("/") else home) / "stanchion"
