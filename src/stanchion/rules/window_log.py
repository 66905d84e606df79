"""What was booked in the last window, in slots: how a limiter that counts a sliding window sees us.

A slot stands for a 240th of the window and leaves with its last booking, a little late: calls overtake each
other on their way, and one that arrives before its place is free is refused.
"""

from __future__ import annotations

from collections import deque

_SLOTS = 240
_LATE = 0.002  # of the window
_LATE_MOST = 0.02
_LATE_MOST_S = 0.25


class WindowLog:
    """Mutable; `now` is given in, in seconds of one clock."""

    __slots__ = ("_slot_s", "_slots", "_stays_most_s", "_stays_s", "_sum")

    def __init__(self, window_s: float) -> None:
        self._slot_s = window_s / _SLOTS
        self._stays_s = window_s + min(_LATE_MOST_S, window_s * _LATE)
        self._stays_most_s = window_s * (1.0 + _LATE_MOST)
        self._slots: deque[list[float]] = deque()  # [when it began, its last booking, amount]
        self._sum = 0.0

    def stay_longer(self, seconds: float) -> None:
        """Let bookings leave so much later: they arrived later than was thought."""
        self._stays_s = min(self._stays_s + seconds, self._stays_most_s)

    def used(self, now: float) -> float:
        """Return the sum of the last window."""
        slots, gone = self._slots, now - self._stays_s
        while slots and slots[0][1] <= gone:
            self._sum -= slots.popleft()[2]
        if not slots:
            self._sum = 0.0  # so no rounding adds up
        return self._sum

    def add(self, now: float, amount: float) -> float:
        """Book an amount.  Returns the sum of the last window, this included."""
        slots = self._slots
        if slots and now - slots[-1][0] < self._slot_s:
            last = slots[-1]
            last[1] = max(last[1], now)
            last[2] += amount
        else:
            self.used(now)
            slots.append([now, now, amount])
        self._sum += amount
        return self._sum

    def take_back(self, at: float, amount: float) -> None:
        """Take back what was booked at `at`, unless it left already."""
        for slot in reversed(self._slots):
            if slot[0] <= at:
                slot[2] -= amount
                self._sum -= amount
                return

    def wait_s(self, now: float, room: float) -> float:
        """Say in how many seconds the sum will be at most `room`."""
        excess = self.used(now) - room
        if excess <= 0:
            return 0.0
        for _, last, amount in self._slots:
            excess -= amount
            if excess <= 0:
                return last + self._stays_s - now
        return self._stays_s
