"""What a spread is told and tells: how wide and how patient, what came of a job, and which failures may pass."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, TypeVar

import msgspec

from stanchion.core.call import Body, Call, Operation
from stanchion.core.clock import Clock
from stanchion.core.errors import (
    DeadlineExceeded,
    LimitReached,
    Sent,
    StanchionError,
    Unavailable,
    UpstreamError,
)
from stanchion.core.head import Head
from stanchion.core.reply import Reply
from stanchion.core.trail import Trail
from stanchion.observe.metrics import Metrics
from stanchion.rules.backoff import backoff_s

_BACK_MOST_S = 120.0  # seconds a job waits in line again, whatever it was told
_PAUSE_LEAST_S = 0.05
_DEAD_TIMES = 8  # errors of dead accounts with no answer between them: nobody is left
J_contra = TypeVar("J_contra", contravariant=True)


class Asked(Protocol):
    """The engine, as far as a spread knows it."""

    @property
    def clock(self) -> Clock:
        """The loop's clock."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Where the line says how many wait in it."""
        ...

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Answer a call."""
        ...


class SpreadOptions(msgspec.Struct, frozen=True):
    """How wide, and how patient."""

    most: int = 1000  # calls open at once
    start: int = 32  # calls open at once in the beginning
    attempts: int = 5  # times a job is given to the engine, which has tries of its own each time
    base_s: float = 1.0  # seconds: the bound of the first wait of a job that failed; doubles from then on
    stalled_most_s: float = 3600.0  # seconds without any answer, after which it gives up
    finish_s: float = 30.0  # seconds that calls in flight may take once it is to end


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What came of a job: an answer, or the error that is final."""

    call: Call  # its trail has the attempts and what they used
    attempts: int  # times it was given to the engine
    earlier: tuple[Trail, ...] = ()  # of the times before, where something was used
    raw: bytes = b""
    head: Head | None = None
    error: StanchionError | None = None


NO_CALL = Call(operation=Operation.CHAT, body=Body({}), model="")  # of a job that could be no call


class Again(msgspec.Struct, gc=False):
    """A job, and how often it was tried."""

    job: object
    attempts: int = 0
    trails: tuple[Trail, ...] = ()  # of tries that used something and came to nothing


class Gate(Protocol[J_contra]):
    """Says what may be spent.  Both are plain calls in the loop."""

    def admit(self, job: J_contra, /) -> bool:
        """Say whether a job may be tried once more now, and hold what that can cost."""
        ...

    def tried(self, job: J_contra, call: Call, error: StanchionError | None, /) -> None:
        """Let go of what a try did not use."""
        ...

    @property
    def waits(self) -> bool:
        """Whether more may be let through soon, though nothing in flight gives anything back."""
        ...


class Shelf(Protocol):
    """Where what came of jobs is written down."""

    @property
    def unwritten(self) -> int:
        """Count what the end of this process would lose."""
        ...

    async def eased(self) -> None:
        """Wait until it is less; each one that is safe lets one of those who wait go, the last of them all."""
        ...


def may_pass(error: StanchionError) -> bool:
    """Say whether the same call may be answered later."""
    if isinstance(error, LimitReached | Unavailable | DeadlineExceeded):
        return True
    return isinstance(error, UpstreamError) and error.retryable and not error.permanent


def not_tried(error: StanchionError) -> bool:
    """Say whether an error says nothing about the call: nobody was asked for it."""
    if isinstance(error, LimitReached | Unavailable):
        return True
    return isinstance(error, UpstreamError) and error.sent is Sent.NOT_SENT


def pause_s(error: StanchionError) -> float:
    """Return how long nobody need ask, after an error of a call that was not tried."""
    return min(max(error.retry_after_s or 1.0, _PAUSE_LEAST_S), _BACK_MOST_S)


def again_in_s(again: Again, error: StanchionError, options: SpreadOptions, jitter: float) -> float:
    """Return how long a job that was tried in vain stays in line; what the provider told is a floor."""
    wait_s = backoff_s(again.attempts, base_s=options.base_s, most_s=_BACK_MOST_S, jitter=jitter)
    return min(max(wait_s, error.retry_after_s or 0.0), _BACK_MOST_S)


class Over(msgspec.Struct, frozen=True):
    """A job cannot go on now; `why` says that no other can either."""

    why: StanchionError | None = None


class Standstill:
    """Notices that nobody will answer any more: the accounts are dead, or nothing came for too long.  Mutable."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._answered_at = 0.0
        self._dead: StanchionError | None = None  # an account's end, and nothing was answered since
        self._times = 0

    def answered(self, now: float) -> None:
        """Note an answer."""
        self._answered_at, self._dead, self._times = now, None, 0

    def failed(self, error: StanchionError, now: float) -> Over | None:
        """Note a failure; None if it is the job's own, or may pass."""
        if isinstance(error, UpstreamError) and error.permanent:
            self._dead, self._times = error, self._times + 1
            return Over(error if self._times >= _DEAD_TIMES else None)
        if self._dead is not None and isinstance(error, Unavailable):
            return Over(self._dead)
        if not may_pass(error):
            self._answered_at = now
        elif now - self._answered_at > self._most_s:
            return Over(
                Unavailable(f"nothing was answered for {self._most_s:.0f} s; the last error is: {error}")
            )
        return None
