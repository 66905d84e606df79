"""Who is free begins together with others: twenty calls in a row cost each less than one by one (decision 0047)."""

from __future__ import annotations

import asyncio

from stanchion.core.clock import Clock
from stanchion.rules.width import Width

_WAIT_S = 0.004  # seconds that a free worker waits for others, at most
_PART = 0.25  # of all workers: when so many are free they wait for nobody


class Waves:
    """Free workers that wait for each other."""

    def __init__(self, clock: Clock, width: Width) -> None:
        self._clock = clock
        self._width = width
        self._free: list[asyncio.Future[None]] = []
        self._alarm = 0

    def join(self) -> asyncio.Future[None]:
        """Return what ends when the next wave begins."""
        future = self._clock.loop.create_future()
        self._free.append(future)
        if len(self._free) >= self._width.now * _PART:
            self._clock.take_back(self._alarm)
            self._begin()
        elif len(self._free) == 1:
            self._alarm = self._clock.set(self._clock.now() + _WAIT_S, self._begin)
        return future

    def _begin(self) -> None:
        free, self._free = self._free, []
        for each in free:
            if not each.done():
                each.set_result(None)
