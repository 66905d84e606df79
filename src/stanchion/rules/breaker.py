"""A circuit breaker: when an endpoint fails again and again, leave it alone, then ask once whether it is back.

    CLOSED --(failures in a row reach the limit)--> OPEN --(rest is over)--> HALF-OPEN
    HALF-OPEN --(the probe succeeds)--> CLOSED        HALF-OPEN --(the probe fails)--> OPEN, resting longer

The rest doubles with each failed probe up to a bound.  Source of the states: Nygard, "Release It!".
A provider that names a time (`retry-after`) makes the endpoint rest that long in any state, if it means all calls and
not one (`rules/told.py`).
"""

from __future__ import annotations

import enum
import math

import msgspec

from stanchion.rules.told import Told


class State(enum.Enum):
    """Whether calls pass."""

    CLOSED = "closed"  # all pass
    OPEN = "open"  # none passes
    HALF_OPEN = "half_open"  # one passes: the probe


class BreakerOptions(msgspec.Struct, frozen=True):
    """When to rest and for how long."""

    failures: int = 5  # in a row, that open the breaker
    rest_s: float = 1.0  # the first rest, in seconds
    rest_most_s: float = 60.0  # seconds
    told_most_s: float = 300.0  # seconds; a longer `retry-after` is cut to this, then one probe asks


class Breaker:
    """The state of one endpoint.  Knows no clock: every method takes `now` in seconds."""

    __slots__ = ("_failed", "_last", "_options", "_probe", "_rest_s", "_told", "_until", "state")

    def __init__(self, options: BreakerOptions) -> None:
        self._options = options
        self.state = State.CLOSED
        self._failed = 0  # in a row
        self._until = 0.0  # the rest is over
        self._told = Told()  # the provider's own time
        self._rest_s = options.rest_s
        self._probe = 0  # the ticket of the probe that is out
        self._last = 0  # the last ticket of a probe

    def ready_in(self, now: float) -> float:
        """Say in how many seconds a call may pass; `inf` while a probe is out."""
        told = self._told.wait_s(now)
        if self.state is State.CLOSED:
            return told
        if self._probe:
            return math.inf
        return max(self._until - now, told)

    def enter(self, now: float) -> int | None:
        """Let a call pass with a ticket, or not: None.  A call that passes is followed by exactly one `left_*`.

        The ticket of a probe is its own, any other is 0: a straggler from before the rest is no probe.
        """
        if self.ready_in(now) > 0:
            return None
        if self.state is State.CLOSED:
            return 0
        self.state = State.HALF_OPEN
        self._last = self._probe = self._last + 1
        return self._probe

    def left_well(self, now: float, entered_at: float = -math.inf) -> None:
        """Note that a call succeeded; -inf where it is not known when it entered."""
        del now  # a success closes whenever it comes
        self._told.let_in(entered_at)
        self._failed = 0
        self._probe = 0
        self.state = State.CLOSED
        self._rest_s = self._options.rest_s

    def left_unknown(self, ticket: int) -> None:
        """Note that a call ended and proved nothing: the caller left, or was wrong."""
        if ticket == self._probe:
            self._probe = 0

    def left_badly(self, now: float, ticket: int, *, at_once: bool = False) -> None:
        """Note that a call failed.  `at_once`: one such failure is enough to open."""
        self._failed += 1
        if self.state is State.CLOSED and self._failed < self._options.failures and not at_once:
            return
        if self.state is State.OPEN or (self.state is State.HALF_OPEN and ticket != self._probe):
            return  # a straggler from before: the rest is already running, or the probe is out
        if self.state is State.HALF_OPEN:
            self._rest_s = min(self._rest_s * 2, self._options.rest_most_s)
        if at_once:
            self._rest_s = self._options.rest_most_s
        self._probe = 0
        self.state = State.OPEN
        self._until = now + self._rest_s

    def told(self, now: float, entered_at: float, retry_after_s: float) -> None:
        """Note that the provider named a time when it refused a call that entered at `entered_at`."""
        self._told.refused(now, entered_at, min(retry_after_s, self._options.told_most_s))
