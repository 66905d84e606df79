"""Watch the clients of all calls: whether they send in time, and whether they leave.  Their calls are ended then.

Whether a client leaves is watched after a moment, since asking the server costs 10-20 us and most answers are there
before.  All wait equally long for that moment, so one alarm goes through them in the order they came.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from stanchion.core.clock import Clock
from stanchion.gateway.requests import Receive

_EVERY_S = 0.01  # seconds between two looks, at least


class Client:
    """The client of one call."""

    __slots__ = ("_clock", "_receive", "_sends_until", "_task", "_watched", "late", "left", "look_after")

    def __init__(self, receive: Receive, task: asyncio.Task[Any], clock: Clock) -> None:
        self.left = False
        self.late = False  # it sent too slowly
        self.look_after = clock.now()  # what it is looked at in the order of
        self._clock = clock
        self._sends_until = math.inf  # while it sends
        self._receive: Receive | None = receive
        self._task: asyncio.Task[Any] | None = task
        self._watched: asyncio.Future[Mapping[str, Any]] | None = None

    @property
    def over(self) -> bool:
        """Whether the call is over."""
        return self._task is None

    def within(self, seconds: float) -> None:
        """Cancel the call's task if this is not called again, nor `has_sent`, in so many seconds, or a little more."""
        self._sends_until = self._clock.now() + seconds

    def forgive(self) -> None:
        """Take the cancellation back: that it was late is noticed."""
        if self._task is not None:
            self._task.uncancel()

    def has_sent(self) -> None:
        """From now on it only waits, and may leave."""
        self._sends_until = math.inf
        self.look_after = self._clock.now()

    def look(self, now: float) -> bool:
        """Look how it is; say whether to look again."""
        if self._task is None or self._receive is None or self.late:
            return False
        if math.isinf(self._sends_until):
            self._watched = asyncio.ensure_future(self._receive())  # noqa: TID251 - granian gives a future: no task
            self._watched.add_done_callback(self._ended)
            return False
        if now >= self._sends_until:
            self.late = True
            self._task.cancel()
        return not self.late

    def _ended(self, watched: asyncio.Future[Mapping[str, Any]]) -> None:
        if self._task is not None and not watched.cancelled() and watched.exception() is None:
            self.left = True
            self._task.cancel()

    def done(self) -> None:
        """Watch no longer: the call is over."""
        self._receive = self._task = None
        if self._watched is not None:
            self._watched.cancel()


class Leaving:
    """The clients of all open calls."""

    def __init__(self, clock: Clock, after_s: float) -> None:
        """`after_s`: the seconds that a call runs before its client is watched."""
        self._clock = clock
        self._after_s = after_s
        self._young = deque[Client]()  # to be looked at, in this order
        self._alarmed = False

    def follow(self, receive: Receive) -> tuple[Client, asyncio.Task[Any]]:
        """Watch the client of the task that runs, from soon on.  Call its `done` at the end of the call."""
        task = asyncio.current_task(self._clock.loop)
        assert task is not None  # noqa: S101 - a server runs a request in a task
        client = Client(receive, task, self._clock)
        self._young.append(client)
        if not self._alarmed:
            self._alarmed = True
            self._clock.set(client.look_after + self._after_s, self._look)
        return client, task

    def _look(self) -> None:
        young, now = self._young, self._clock.now()
        due = now - self._after_s
        while young and (young[0].over or young[0].look_after <= due):
            client = young.popleft()
            if client.look(now):
                client.look_after = now
                young.append(client)
        self._alarmed = bool(young)
        if young:  # not for each by itself: the next few are due together
            self._clock.set(max(young[0].look_after, due + _EVERY_S) + self._after_s, self._look)
