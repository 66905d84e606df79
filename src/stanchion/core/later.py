"""What the end of a call need not wait for is done a moment later, for many calls together.

Code that runs for twenty calls in a row costs each less than between two calls, when it is no longer at hand: see
docs/decisions/0045.  What waits is also done before metrics are read, and at the engine's end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from stanchion.core.clock import Clock

log = logging.getLogger(__name__)
_AFTER_S = 0.005  # seconds: twenty calls of a busy process; what they hold is still at hand then
_MOST = 100  # done at once: a millisecond of the loop's


class Later:
    """The jobs that wait, in their order.  They are short, and wait for nothing themselves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: list[Callable[[], None]] = []
        self._alarm: int | None = None

    def __call__(self, job: Callable[[], None]) -> None:
        """Do `job` soon."""
        self._jobs.append(job)
        if self._alarm is None:
            self._alarm = self._clock.set(self._clock.now() + _AFTER_S, self.do)
        elif len(self._jobs) >= _MOST:
            self.do()

    def do(self) -> None:
        """Do what waits, now."""
        jobs, self._jobs = self._jobs, []
        if self._alarm is not None:
            self._clock.take_back(self._alarm)
            self._alarm = None
        for job in jobs:
            try:
                job()
            except Exception:  # one that fails must not lose the others
                log.exception("later.job_failed")
