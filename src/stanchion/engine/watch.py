"""Take new settings without a restart: when the file changes, or when told to.

A new file that is bad keeps the old settings, and says so in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from stanchion.core.errors import SettingsError
from stanchion.engine.config import Loaded
from stanchion.engine.engine import Engine
from stanchion.observe.logs import log_event

log = logging.getLogger(__name__)
_EVERY_S = 1.0  # how often the file is looked at


class Watch:
    """Watches the file an engine's settings came from."""

    def __init__(self, engine: Engine, read: Callable[[], Loaded]) -> None:
        """`read` reads the settings anew, from all their sources."""
        self._engine = engine
        self._read = read
        self._told = asyncio.Event()

    def now(self) -> None:
        """Read the settings now, whether the file changed or not."""
        self._told.set()

    async def run(self) -> None:
        """Watch, for ever."""
        seen = await asyncio.to_thread(_mark, self._engine.loaded.file)
        while True:
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._told.wait()
            except TimeoutError:
                mark = await asyncio.to_thread(_mark, self._engine.loaded.file)
                if mark == seen:
                    continue
            self._told.clear()
            seen = await asyncio.to_thread(_mark, self._engine.loaded.file)
            await self.reload()

    async def reload(self) -> bool:
        """Read and take the settings; False if they were bad and the old ones stay."""
        file = str(self._engine.loaded.file)
        try:
            self._engine.reload(await asyncio.to_thread(self._read))
        except SettingsError as error:
            log_event(
                log, logging.ERROR, "settings.refused", file=file, why=str(error), then="the old ones stay"
            )
            return False
        log_event(log, logging.INFO, "settings.taken", file=file)
        return True


def _mark(file: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file changes: a replaced one has another inode."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size) if found is not None else None
