"""What happened to a call so far: its attempts, and what they used.  Shared by all copies of the Call."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stanchion.core.usage import Cost, Usage


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
    hedge: bool = False  # made beside another that was late
    lost: bool = False  # the one beside it gave the answer
    cost: Cost | None = None  # of `usage`, once somebody asked


class Trail(msgspec.Struct, gc=False):
    """The attempts of one call, and the sum of what they used."""

    attempts: list[Attempt] = []
    resumed: int = 0  # how often a cut stream was taken up again
    hedged: str = ""  # what became of the last hedge: won, lost, failed, left
    usage: Usage | None = None  # of all attempts, those that were cut or left included
    late: Callable[[int, Attempt], None] | None = None  # is told of usage that comes after the call's end

    def began(self, attempt: Attempt) -> None:
        """Add an attempt that goes out now."""
        self.attempts.append(attempt)

    def used(self, usage: Usage) -> None:
        """Add what the last attempt used."""
        self.usage = usage if self.usage is None else self.usage + usage
        if not self.attempts:
            return
        attempt = self.attempts[-1]
        attempt.usage, attempt.cost = usage, None
        if self.late is not None:
            self.late(len(self.attempts), attempt)

    @property
    def answering(self) -> Attempt | None:
        """The attempt that a call's answer, or its failure, is of: the last that did not lose."""
        attempts = self.attempts
        if attempts and not attempts[-1].lost:
            return attempts[-1]  # nearly always
        return next((each for each in reversed(attempts) if not each.lost), None)


class Branch(Trail, kw_only=True, gc=True):
    """The trail of attempts that are made beside others: its own are told apart, and all stand in the call's."""

    trunk: Trail
    begun: Callable[[Attempt], None] | None = None  # is told of each attempt of its own
    last: Attempt | None = None  # of its own

    @classmethod
    def of(cls, trunk: Trail, begun: Callable[[Attempt], None]) -> Branch:
        """Make a branch of a call's trail."""
        return cls(attempts=trunk.attempts, trunk=trunk, begun=begun)

    def began(self, attempt: Attempt) -> None:
        """Add an attempt that goes out now."""
        self.last = attempt
        self.attempts.append(attempt)
        if self.begun is not None:
            self.begun(attempt)

    def used(self, usage: Usage) -> None:
        """Add what its own last attempt used."""
        trunk, attempt = self.trunk, self.last
        trunk.usage = usage if trunk.usage is None else trunk.usage + usage
        if attempt is None:
            return
        attempt.usage, attempt.cost = usage, None
        if trunk.late is not None:
            number = next(n for n, each in enumerate(self.attempts, 1) if each is attempt)
            trunk.late(number, attempt)
