"""A meter: how much of one rate limit at a provider is used, told by a single moment.

A provider's limit is a bucket that fills up evenly: 30,000 tokens a minute come back at 500 a second.  Instead
of how many tokens are left the meter keeps `full_at`, the moment at which the bucket will be full again when
nothing more is taken.  All amounts are seconds then: an amount of tokens is the time in which they come back,
`amount / limit * window`, and "how much is used" is `depth`, the time until full.  Nothing has to be counted
up while time passes, and a limit that the provider changes leaves what is stored true.

The form is the virtual scheduling of the generic cell rate algorithm (ITU-T I.371, ATM Forum TM 4.0).
`heard` is ours: it brings in what the provider's headers said of a call that others have passed meanwhile.

Knows no clock and no store: every method takes `now` in seconds.  SQLite's store computes with this very class,
Redis's and PostgreSQL's say the same in Lua and in SQL; one suite compares them.
"""

from __future__ import annotations

import msgspec

NEAR_S = 1e-6  # so near to the room or to full counts as there: clocks tick in microseconds


class Meter(msgspec.Struct, gc=False):
    """The state of one meter.  A new one is full, and `born_at` is the moment at which it was made."""

    born_at: float
    full_at: float = 0.0  # when the provider's bucket will be full again
    booked_s: float = 0.0  # the sum of all that was ever booked, what was given back taken off
    idle_at: float = 0.0  # when something was last booked on a full bucket
    synced_at: float = 0.0  # the moment that the provider's newest word is about

    def depth_s(self, now: float) -> float:
        """Say how long until full."""
        depth = self.full_at - now
        return depth if depth > 0 else 0.0

    def wait_s(self, now: float, cost_s: float, room_s: float) -> float:
        """Say in how many seconds a call of this cost fits; 0: now.

        A call that is larger than the whole room passes when the bucket is full, otherwise it never would.
        """
        depth = self.full_at - now
        if depth < 0:
            depth = 0.0
        over = depth if cost_s > room_s else depth + cost_s - room_s
        return over if over > NEAR_S else 0.0

    def book(self, now: float, cost_s: float) -> None:
        """Note that so much was used; less than nothing gives so much back."""
        if cost_s < 0:
            self.full_at += cost_s
        elif self.full_at <= now:
            self.idle_at = now
            self.full_at = now + cost_s
        else:
            self.full_at += cost_s
        self.booked_s += cost_s

    def take(self, now: float, cost_s: float, room_s: float) -> bool:
        """Book a cost, which is not negative, where it fits beyond doubt; else nothing, and `wait_s` has the word.

        One step for what nearly always fits: no more is asked and computed than that takes.
        """
        full_at = self.full_at
        if full_at <= now:
            if cost_s > room_s:
                return False
            self.idle_at = full_at = now
        elif full_at - now + cost_s > room_s:
            return False
        self.full_at = full_at + cost_s
        self.booked_s += cost_s
        return True

    def heard(self, at: float, booked_s: float, depth_s: float, gain: float = 1.0) -> None:
        """Follow the provider's word about a call: at `at`, when `booked_s` had been booked, it was so deep.

        What was booked since then is added.  Ignored where it would mislead: older than what is known;
        about a meter that was forgotten since and began anew, whose sums do not compare; or saying less than
        we think although the bucket was full in between: time that ran idle is missing from the sum.

        `gain` is how much of the way is gone at once: calls overtake each other on their way, so one word is
        off by as much as was sent in the same moment, and what is off for long is gone after a few words.
        """
        if at < self.synced_at or (at < self.born_at and booked_s > 0):
            return
        full_at = at + depth_s + (self.booked_s - booked_s)
        if full_at < self.full_at and self.idle_at > at:
            return
        moved = self.full_at + gain * (full_at - self.full_at)
        self.full_at = max(moved, at + depth_s) if full_at > self.full_at else moved
        self.synced_at = at

    def hold(self, now: float, hold_s: float) -> None:
        """Follow the provider's word that it is at least so deep now.

        That is its newest word, so an answer to an earlier call no longer counts.
        """
        if now + hold_s > self.full_at:
            self.full_at = now + hold_s
            self.synced_at = now
