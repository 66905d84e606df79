"""When those who wait give up.  Nearly all wait equally long, so they stand in order and share one alarm."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from stanchion.core.clock import Clock

_DEAD_FEW = 32


class Bounded(Protocol):
    """One that waits until a time."""

    waiting: bool
    give_up_at: float

    def __call__(self) -> None:
        """Give up."""
        ...


class GivingUp:
    """Those of one line, the first to give up in front."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: deque[Bounded] = deque()  # those that left may be among them
        self._alarm = 0

    def add(self, waiter: Bounded) -> bool:
        """Let it give up in time.  False if it does not come last: then it needs an alarm of its own."""
        due = self._due
        if due and waiter.give_up_at < due[-1].give_up_at:
            return False
        due.append(waiter)
        if not self._alarm:
            self._alarm = self._clock.set(due[0].give_up_at, self._ring)
        return True

    def tidy(self, waiting: int) -> None:
        """Let go of those that left; so many still wait."""
        due = self._due
        while due and not due[0].waiting:
            due.popleft()
        if len(due) > 2 * waiting + _DEAD_FEW:
            self._due = deque(each for each in due if each.waiting)

    def close(self) -> None:
        """Ring no more: nobody waits."""
        self._due.clear()
        self._clock.take_back(self._alarm)
        self._alarm = 0

    def _ring(self) -> None:
        self._alarm = 0
        now = self._clock.now()
        while self._due and (not self._due[0].waiting or self._due[0].give_up_at <= now):
            waiter = self._due.popleft()
            if waiter.waiting:
                waiter()
        if self._due and not self._alarm:
            self._alarm = self._clock.set(self._due[0].give_up_at, self._ring)
