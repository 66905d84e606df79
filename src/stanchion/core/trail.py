"""What happened to a call so far: its attempts, and what they used.  Shared by all copies of the Call."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stanchion.core.usage import Usage


class Attempt(msgspec.Struct, gc=False):
    """One try at one endpoint.  Times are in seconds of the event loop's clock."""

    endpoint: str
    model: str  # as asked at the endpoint
    started_at: float
    ended_at: float | None = None
    status: int | None = None  # the provider's HTTP status
    outcome: str = "open"  # open, completed, failed, cancelled
    code: str | None = None  # the error's code
    sent: str | None = None  # the error's Sent, as text
    usage: Usage | None = None  # what it used, also if it was cut or left


class Trail(msgspec.Struct, gc=False):
    """The attempts of one call, and the sum of what they used."""

    attempts: list[Attempt] = []
    resumed: int = 0  # how often a cut stream was taken up again
    usage: Usage | None = None  # of all attempts, those that were cut or left included
    late: Callable[[int, Attempt], None] | None = None  # is told of usage that comes after the call's end

    def used(self, usage: Usage) -> None:
        """Add what the last attempt used."""
        self.usage = usage if self.usage is None else self.usage + usage
        if not self.attempts:
            return
        attempt = self.attempts[-1]
        attempt.usage = usage
        if self.late is not None:
            self.late(len(self.attempts), attempt)
