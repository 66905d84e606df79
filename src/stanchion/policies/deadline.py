"""Give every call a deadline, and bound the wait for its reply by it.

Before: sets the deadline, refuses a call whose time is over.  Until the reply is there: a timeout.
After: the provider bounds each read by `call.deadline`, so no chunk pays for a timer here.
Stands above all that waits: one budget of time for all tries together.
"""

from __future__ import annotations

import math

import msgspec

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import DeadlineExceeded
from stanchion.core.reply import Reply
from stanchion.core.service import Service


class DeadlineOptions(msgspec.Struct, frozen=True):
    """How long a call may take in all."""

    total_s: float = 600.0  # seconds, from the call's start to its last chunk; 0 is without end


class Deadline:
    """Sets and enforces the call's own time."""

    def __init__(self, options: DeadlineOptions, clock: Clock | None = None) -> None:
        self._options = options
        self._clock = clock or Clock()

    async def __call__(self, call: Call, service: Service, /) -> Reply:
        """Answer in time or raise DeadlineExceeded.  Cancel: nothing is held."""
        now = self._clock.now()
        total_s = call.option(DeadlineOptions, self._options).total_s
        deadline = call.deadline
        if total_s > 0:
            deadline = min(deadline, now + total_s)
        if math.isinf(deadline):
            return await service(call)
        if deadline <= now:
            raise DeadlineExceeded("the call's deadline was over before it began")
        if deadline != call.deadline:
            call = call.having(deadline=deadline)
        try:
            with self._clock.timeout_at(deadline):
                return await service(call)
        except TimeoutError:
            raise DeadlineExceeded("the call's deadline passed before an answer began") from None
