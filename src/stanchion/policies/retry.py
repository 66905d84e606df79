"""Try again after an error that may pass, before the first chunk, within the deadline and the retry budget.

Before: counts the call into the budget; one that takes up a cut stream is taken out of it.  At an error before the first chunk: decides, waits, tries again
elsewhere if it can.  After the first chunk the error is the reader's.
Stands above balance: the next try may take another key; and above the endpoint: nothing is held while
we wait.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable

import msgspec

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import Silent, Unavailable, UpstreamError
from stanchion.core.reply import Reply
from stanchion.core.service import Outlook, Service
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.rules.backoff import backoff_s, told_s
from stanchion.rules.retry_budget import RetryBudget

log = logging.getLogger(__name__)


class RetryOptions(msgspec.Struct, frozen=True):
    """How often and how long."""

    attempts: int = 3  # tries in all, at least 1
    base_s: float = 0.5  # seconds: the bound of the first wait; doubles from then on
    most_s: float = 30.0  # seconds: the bound of any wait; a provider that asks for more is not waited for
    budget_ratio: float = 0.1  # retries per call; shared by all calls
    budget_floor: int = 10  # retries in ten seconds that are always allowed


class Retry:
    """Decides by the error's facts; a silent provider is asked again only where no other exists."""

    def __init__(
        self,
        options: RetryOptions,
        metrics: Metrics,
        *,
        jitter: Callable[[], float] = random.random,
        clock: Clock | None = None,
        outlook: Callable[[Call], Outlook] | None = None,
    ) -> None:
        """`jitter` returns a number in [0, 1); a test passes a constant.  `outlook` is the balancer's."""
        self._outlook = outlook or _hopeful
        self._options = options
        self._metrics = metrics
        self._jitter = jitter
        self._clock = clock or Clock()
        self._budget = RetryBudget(ratio=options.budget_ratio, floor=options.budget_floor)

    async def __call__(self, call: Call, service: Service, /) -> Reply:
        """Answer, or raise the last error with the number of tries.  Cancel: nothing is held."""
        options = call.option(RetryOptions, self._options)
        now = self._clock.now
        if call.trail.resumed == 0:
            self._budget.call(now())
        elif not self._budget.take(now()):  # a stream taken up again is a retry as any other
            raise Unavailable("the retry budget is spent")
        last: UpstreamError | None = None
        while True:
            try:
                reply = await service(call)
                await reply.first()  # an error up to here is ours; after it, the reader's
                return reply
            except UpstreamError as error:
                last = error
                following = _next_try(call, error)
                wait_s = self._wait_s(following, error, options, now())
            except Unavailable:
                if last is None:
                    raise
                raise last from None  # why we are here says more than that nobody is left
            if wait_s is None:
                if call.attempt > 1:
                    last.add_note(f"tried {call.attempt} times")
                raise last
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            call = following

    def _wait_s(
        self, following: Call, error: UpstreamError, options: RetryOptions, now: float
    ) -> float | None:
        """Return the seconds to wait before the next try, or None for no further try."""
        decision, wait_s = self._decide(following, error, options, now)
        self._metrics.retries.of(decision).inc()
        log_event(
            log,
            logging.INFO,
            "retry.decided",
            id=following.id,
            attempt=following.attempt - 1,
            endpoint=error.endpoint,
            code=error.code,
            sent=error.sent.value,
            decision=decision,
            wait_s=round(wait_s, 3),
        )
        return wait_s if decision == "again" else None

    def _decide(
        self, following: Call, error: UpstreamError, options: RetryOptions, now: float
    ) -> tuple[str, float]:
        if not error.retryable and not error.elsewhere:
            return "not_retryable", 0.0
        if following.attempt > options.attempts:
            return "attempts_spent", 0.0
        outlook = self._outlook(following)
        if not outlook.anybody:
            return "nobody_left", 0.0
        wait_s = self._pause_s(following, error, options, outlook)
        if wait_s > options.most_s:
            return "asked_to_wait_too_long", wait_s
        if now + wait_s >= following.deadline:
            return "deadline", wait_s
        if not self._budget.take(now):
            return "budget_spent", wait_s
        return "again", wait_s

    def _pause_s(
        self, following: Call, error: UpstreamError, options: RetryOptions, outlook: Outlook
    ) -> float:
        if not error.retryable:
            return 0.0  # that key is dead, or may not ask this; another need not wait
        if error.retry_after_s is not None:
            if outlook.another_in_s == 0:
                return 0.0  # it spoke for itself: another is ready now
            return told_s(error.retry_after_s, base_s=options.base_s, jitter=self._jitter())
        failed = following.attempt - 1
        return backoff_s(failed, base_s=options.base_s, most_s=options.most_s, jitter=self._jitter())


def _hopeful(call: Call) -> Outlook:
    """Return the outlook of a service that is no balancer: it may be asked again, and there is no other."""
    del call
    return Outlook(math.inf, anybody=True)


def _next_try(call: Call, error: UpstreamError) -> Call:
    """Make the call of the next try: it knows which endpoint failed it, and how."""
    failed = frozenset((error.endpoint,))
    return call.having(
        attempt=call.attempt + 1,
        avoid=call.avoid | failed,
        never=call.never if error.retryable else call.never | failed,
        silent=call.silent | failed if isinstance(error, Silent) else call.silent,
    )
