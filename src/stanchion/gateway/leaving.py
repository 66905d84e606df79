"""Watch whether clients leave, and end their calls then.

It begins after a moment, since asking the server to watch costs 10-20 us and most answers are there before.  All
calls wait equally long for that moment, so one alarm goes through them in the order they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from stanchion.core.clock import Clock
from stanchion.gateway.requests import Receive

_EVERY_S = 0.01  # seconds between two looks, at least


class Client:
    """The client of one open call."""

    __slots__ = ("_receive", "_task", "_watched", "followed_at", "left")

    def __init__(self, receive: Receive, task: asyncio.Task[Any], now: float) -> None:
        self.left = False
        self.followed_at = now
        self._receive: Receive | None = receive
        self._task: asyncio.Task[Any] | None = task
        self._watched: asyncio.Future[Mapping[str, Any]] | None = None

    @property
    def over(self) -> bool:
        """Whether the call is over."""
        return self._task is None

    def watch(self) -> None:
        """Ask the server to say when the client leaves; one whose call is over already is not asked for."""
        if self._receive is not None:
            self._watched = asyncio.ensure_future(self._receive())  # noqa: TID251 - granian gives a future: no task
            self._watched.add_done_callback(self._ended)

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
        self._young = deque[Client]()  # not yet watched, the oldest first
        self._alarmed = False

    def follow(self, receive: Receive, task: asyncio.Task[Any]) -> Client:
        """Watch a client from soon on.  Cancels `task` if it leaves; call its `done` at the end of the call."""
        client = Client(receive, task, self._clock.now())
        self._young.append(client)
        if not self._alarmed:
            self._alarmed = True
            self._clock.set(client.followed_at + self._after_s, self._look)
        return client

    def _look(self) -> None:
        young, now = self._young, self._clock.now()
        due = now - self._after_s
        while young and (young[0].over or young[0].followed_at <= due):
            young.popleft().watch()
        self._alarmed = bool(young)
        if young:  # not for each by itself: the next few are due together
            self._clock.set(max(young[0].followed_at, due + _EVERY_S) + self._after_s, self._look)
