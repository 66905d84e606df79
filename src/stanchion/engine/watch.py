"""Take new settings without a restart: when the file changes, or when told to.

A new file that is bad keeps the old settings, and says so in the log.  All files, the keys' too, are read in a
thread and in bounded time: calls go on where a file system is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from stanchion.core.errors import SettingsError
from stanchion.engine.catalog import ReadKeys, read_keys
from stanchion.engine.config import Loaded
from stanchion.engine.engine import Engine
from stanchion.observe.logs import log_event

log = logging.getLogger(__name__)
_EVERY_S = 1.0  # how often the file is looked at
_READ_S = 10.0  # reading may take so long: a file system may be gone


class Watch:
    """Watches the file an engine's settings came from."""

    def __init__(self, engine: Engine, read: Callable[[], Loaded]) -> None:
        """`read` reads the settings anew, from all their sources."""
        self._engine = engine
        self._read = read
        self._told = asyncio.Event()
        self._reading: asyncio.Future[tuple[Loaded, ReadKeys]] | None = None  # the last one

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
            self._engine.reload(*await self._read_all())
        except SettingsError as error:
            log_event(
                log, logging.ERROR, "settings.refused", file=file, why=str(error), then="the old ones stay"
            )
            return False
        log_event(log, logging.INFO, "settings.taken", file=file)
        return True

    async def _read_all(self) -> tuple[Loaded, ReadKeys]:
        """Read settings and keys in a thread.  Raises SettingsError, also where that takes too long."""
        try:
            # a thread cannot be stopped: before another reads, the one that was late must be back
            if self._reading is not None:
                await _ended(self._reading)
            self._reading = asyncio.get_running_loop().run_in_executor(None, self._read_now)
            await _ended(self._reading)
            read, self._reading = self._reading.result(), None  # keys are not kept here
            return read
        except SettingsError:
            self._engine.metrics.reloads.of("refused").inc()
            raise

    def _read_now(self) -> tuple[Loaded, ReadKeys]:
        loaded = self._read()
        return loaded, read_keys(loaded.settings, loaded.environ)


async def _ended(reading: asyncio.Future[tuple[Loaded, ReadKeys]]) -> None:
    """Wait until it ended, well or badly.  Raises SettingsError if it does not in time."""
    done, _ = await asyncio.wait((reading,), timeout=_READ_S)
    if not done:
        raise SettingsError(
            f"they, or a key's file, could not be read in {_READ_S:.0f} s: is the file system there?"
        )
    reading.exception()  # was heard, or came too late to matter


def _mark(file: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file changes: a replaced one has another inode."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size) if found is not None else None
