"""How much of a provider's window may be used at once: learned, from a second's worth on.

Each answer to a call at the edge allows one call more, so the room doubles from answer to answer (as TCP's slow
start; RFC 5681), up to the whole window.  A refusal at the edge that does not tell the limit's own state ends
that for ten minutes: such a limiter allows no larger burst.  A refusal from within the room says that the way
to the provider takes now longer and now less long: a distance is kept from then on, which shrinks to nothing.
"""

from __future__ import annotations

FIRST_S = 1.0  # the depth that is taken for granted
_PROBE_AGAIN_S = 600.0
_SHY = 0.998  # of the window is used: calls overtake each other on their way
_EARLY_MOST = 0.03  # of the window
_EARLY_LASTS_S = 300.0


class Burst:
    """Of one limit.  Mutable; depths in seconds of refill, `now` in seconds of one clock."""

    __slots__ = ("_early_at", "_early_s", "_probe_at", "_step_s", "_whole_s", "_window_s", "proven_s")

    def __init__(self, window_s: float, now: float, first_s: float) -> None:
        self._window_s = window_s
        self._whole_s = window_s * _SHY
        self.proven_s = min(first_s, window_s)
        self._step_s = 0.0  # how much deeper may be tried
        self._probe_at = now
        self._early_s, self._early_at = 0.0, now  # the distance that is kept, and since when

    @property
    def late_s(self) -> float:
        """The part of the window that is left out."""
        return self._window_s - self._whole_s

    def room_s(self, now: float) -> float:
        """Say how deep our own calls may go."""
        return self.proven_s + self._step_s if now >= self._probe_at else self.proven_s

    def bounded(self, now: float, room_s: float) -> float:
        """Keep a room within the window, and the distance from its end."""
        whole_s = self._whole_s - self._distance_s(now) if self._early_s else self._whole_s
        return whole_s if room_s > whole_s else room_s

    def accepted(self, depth_s: float, cost_s: float, *, edge: bool) -> None:
        """A call was let in that went so deep; at the edge if it was as deep as was allowed."""
        if (edge or depth_s > self.proven_s) and self._window_s > FIRST_S:
            self.proven_s = min(max(self.proven_s, depth_s), self._window_s)
            self._step_s = min(self._step_s + cost_s, self._window_s)

    def began_with(self, depth_s: float) -> None:
        """Calls were let in that went so deep, before this limit was known."""
        depth_s = min(depth_s, self._window_s)
        self._step_s = max(self._step_s, depth_s - self.proven_s)
        self.proven_s = max(self.proven_s, depth_s)

    def refused(self, now: float, depth_s: float) -> None:
        """A call was refused that went so deep, and nothing was said."""
        if depth_s > self.proven_s:
            self._step_s, self._probe_at = 0.0, now + _PROBE_AGAIN_S

    def came_early(self, now: float, at: float, wait_s: float) -> bool:
        """Keep a distance after a call of `at` was refused from within the room; say whether that is news."""
        if at <= self._early_at:
            return False  # sent before the distance was made what it is
        self._early_s = min(self._distance_s(now) + wait_s, self._window_s * _EARLY_MOST)
        self._early_at = now
        return True

    def _distance_s(self, now: float) -> float:
        return self._early_s * max(0.0, 1.0 - (now - self._early_at) / _EARLY_LASTS_S)
