"""One engine per event loop, made at the first call there, ended with the loop or by hand.

The home task is the one task here that stands in no group: it must outlive the call that happened to be
the first.  Its owner is the loop: `asyncio.run` cancels what is left when it ends, the home task then
closes the engine, and nothing is left open.  A loop that is closed without that needs `aclose()` before.
"""

from __future__ import annotations

import asyncio
import contextvars

from stanchion.engine.config import Loaded
from stanchion.engine.engine import Engine


class _Home:
    """Where one engine lives."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()  # the engine is there, or will never be
        self.leave = asyncio.Event()
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None


class Homes:
    """The engines of one client by event loop.  After a fork the loops of the parent are never asked again."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.engines: dict[asyncio.AbstractEventLoop, Engine] = {}  # read by the client at each call
        self._homes: dict[asyncio.AbstractEventLoop, _Home] = {}

    async def engine(self) -> Engine:
        """Return this loop's engine; the first call makes it.  Cancel: another waiter still gets it."""
        loop = asyncio.get_running_loop()
        while (found := self.engines.get(loop)) is None:
            home = self._homes.get(loop)
            if home is None:
                self._forget_closed()
                home = self._homes[loop] = _Home()
                # an empty context: the engine must not keep the first caller's variables
                home.task = loop.create_task(self._live(loop, home), context=contextvars.Context())
            await home.opened.wait()  # bounded: opening an engine waits for nothing outside
            if home.error is not None:
                raise home.error
        return found

    async def aclose(self) -> None:
        """End this loop's engine, and wait until all its connections are closed."""
        home = self._homes.get(asyncio.get_running_loop())
        if home is not None and home.task is not None:
            home.leave.set()
            await asyncio.wait([home.task])  # bounded: the engine bounds its own end

    async def _live(self, loop: asyncio.AbstractEventLoop, home: _Home) -> None:
        try:
            async with Engine(self._loaded) as engine:
                self.engines[loop] = engine
                home.opened.set()
                try:
                    await home.leave.wait()  # as long as the loop lives
                finally:
                    self.engines.pop(loop, None)  # who calls from now on gets a new one
                    self._homes.pop(loop, None)
        except Exception as error:  # a task boundary: whoever waits for the engine is told
            if home.opened.is_set():
                raise
            home.error = error
        finally:
            if self._homes.get(loop) is home:
                del self._homes[loop]
            home.opened.set()

    def _forget_closed(self) -> None:
        """Drop the engines of loops that were closed without ending their tasks."""
        for loop in [each for each in self._homes if each.is_closed()]:
            self._homes.pop(loop, None)
            self.engines.pop(loop, None)

    def parted(self) -> list[object]:
        """After a fork: forget all engines.  Whoever gets them keeps them: the parent uses their sockets."""
        left: list[object] = [*self._homes.items(), *self.engines.items()]
        self._homes.clear()
        self.engines.clear()
        return left
