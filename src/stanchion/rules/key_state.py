"""Which value of a key is used: at most one takes new calls, at most one more finishes its old ones.

    CANDIDATE --(the provider knows it)--> ACTIVE --(another took its place)--> RETIRING --(last call ended)--> RETIRED
    CANDIDATE --(the provider refuses it, or a newer one came)--> RETIRED

Values are known here by their numbers alone.  A key whose active value was refused for good is quarantined:
`Quarantine` says until when, and lets one probe through.  A new active value begins without quarantine.
"""

from __future__ import annotations

import enum
import math

from stanchion.rules.refusals import Scope

_LOOK_AGAIN_S = 0.05  # a probe is out: worth asking again after so many seconds


class Stage(enum.Enum):
    """Where a value stands."""

    CANDIDATE = "candidate"  # was read, and is not used before the provider has answered to it
    ACTIVE = "active"  # new calls take it
    RETIRING = "retiring"  # calls in flight finish on it
    RETIRED = "retired"  # forgotten


class KeyState:
    """The values of one key.  Knows no clock: methods take `now` in seconds."""

    __slots__ = ("_last", "_retire_by", "active", "candidate", "retiring")

    def __init__(self) -> None:
        self.active = 0  # 0 is none
        self.candidate = 0
        self.retiring = 0
        self._last = 0
        self._retire_by = math.inf

    def found(self) -> int:
        """Take a new value as the candidate, in place of an earlier one; return its number."""
        self._last += 1
        self.candidate = self._last
        return self.candidate

    def dropped(self) -> None:
        """Note that the candidate is not to be used."""
        self.candidate = 0

    def verified(self, now: float, longest_s: float) -> None:
        """Make the candidate active.  The one before finishes its calls, for at most `longest_s`."""
        if not self.candidate:
            return
        self.retiring, self.active, self.candidate = self.active, self.candidate, 0
        self._retire_by = now + longest_s

    def ended(self, number: int, in_flight: int) -> None:
        """Note that a call with this value ended, and how many are left."""
        if number == self.retiring and in_flight == 0:
            self.retiring = 0

    def late(self, now: float) -> None:
        """Retire the old value if the longest call must have ended."""
        if now >= self._retire_by:
            self.retiring = 0

    def stage(self, number: int) -> Stage:
        """Say where a value stands."""
        if number == self.active:
            return Stage.ACTIVE
        if number == self.candidate:
            return Stage.CANDIDATE
        return Stage.RETIRING if number == self.retiring else Stage.RETIRED


class Quarantine:
    """Why keys rest, and until when.  Shared by all keys that rest for the same reason: one probe for all."""

    __slots__ = ("by_call", "code", "due", "probing", "scope", "since")

    def __init__(self, code: str, scope: Scope, now: float, rest_s: float, *, by_call: bool) -> None:
        """`by_call`: only a real call can tell whether it passed.  A rest of `inf` ends by a person's word."""
        self.code = code
        self.scope = scope
        self.since = now
        self.due = now + rest_s  # a probe may go out
        self.by_call = by_call
        self.probing = False

    def ready_in(self, now: float) -> float:
        """Say in how many seconds a call could pass, or is worth asking about again."""
        if self.by_call and not self.probing:
            return max(0.0, self.due - now)
        return max(_LOOK_AGAIN_S, self.due - now)

    def probe_in(self, now: float) -> float:
        """Say in how many seconds the list of models is to be asked; `inf` where a call is the probe."""
        return math.inf if self.by_call or self.probing else max(0.0, self.due - now)

    def begin(self, now: float) -> bool:
        """Let a probe out; False if it is too early, or one is out."""
        if self.probing or now < self.due:
            return False
        self.probing = True
        return True

    def unknown(self) -> None:
        """Note that the probe ended and proved nothing: the next may go at once."""
        self.probing = False

    def again_in(self, now: float, rest_s: float) -> None:
        """Note that the probe got no answer: the next goes in so many seconds."""
        self.probing = False
        self.due = now + rest_s


def rest_s(strikes: int, first_s: float, most_s: float) -> float:
    """Say how long a key rests that was refused so often in a row: doubling, bounded."""
    return min(most_s, first_s * 2.0 ** min(strikes - 1, 30))
