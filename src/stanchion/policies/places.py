"""So many calls at once at an endpoint: a place is held until the reply ends, not until it begins.

Before: takes a place, or raises NotYet.  At the end: gives it back and wakes who waits.  Holds a place.
Stands under health, which refuses for nothing, and above the quota: nobody books quota and then waits for
a place.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from stanchion.core.call import Call
from stanchion.core.errors import NotYet
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service


class Places:
    """The places of one endpoint; `most` 0 is any number, and costs nothing."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._wakes: list[Callable[[], None]] = []

    def ready_in(self) -> float:
        """Say when a call may pass: now, or at a time that nobody knows."""
        return math.inf if 0 < self._most <= self._taken else 0.0

    def fill(self) -> float:
        """Say how many of the places are taken, from 0 to 1."""
        return self._taken / self._most if self._most else 0.0

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` when a place is free."""
        if self._most:
            self._wakes.append(wake)

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass the call on.  Raises NotYet if no place is free.  Cancel: the place is given back."""
        return self._held(call, service) if self._most else service(call)

    async def _held(self, call: Call, service: Service) -> Reply:
        if self._taken >= self._most:
            raise NotYet(math.inf)
        self._taken += 1
        try:
            reply = await service(call)
        except NotYet:
            # wakes nobody: the line does not know yet that there is no room, and looks when it does
            self._taken -= 1
            raise
        except BaseException:
            self._left()
            raise
        return reply.on_end(self._ended)

    def _ended(self, end: End, error: BaseException | None) -> None:
        del end, error
        self._left()

    def _left(self) -> None:
        self._taken -= 1
        for wake in self._wakes:
            wake()
