"""A breaker per endpoint: one that fails again and again is left alone, then asked once.

Before: refuses while it rests, and sends back to the line where it was told to wait.  At the end: tells the breaker how it went.  Holds the probe.
Stands on top of the endpoint; tells the balancer through `ready_in`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import NotYet, Refused, Unavailable, UpstreamError
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.rules.breaker import Breaker, BreakerOptions, State

log = logging.getLogger(__name__)


class Health:
    """The breaker of one endpoint."""

    def __init__(
        self,
        endpoint: str,
        options: BreakerOptions,
        metrics: Metrics,
        clock: Clock | None = None,
        *,
        keyed: bool = False,
    ) -> None:
        """`keyed`: a refusal for good is the key's matter, which is quarantined at all its endpoints."""
        self._endpoint = endpoint
        self._keyed = keyed
        self._breaker = Breaker(options)
        self._gauge = metrics.breaker_open.of(endpoint)
        self._was = State.CLOSED
        self._clock = clock or Clock()
        self.in_flight = 0  # replies that are open
        self._wakes: list[Callable[[], None]] = []
        self.last_failure = ""  # the code of the last failure that counted

    def ready_in(self, now: float) -> float:
        """Say in how many seconds a call may pass."""
        return self._breaker.ready_in(now)

    @property
    def resting(self) -> bool:
        """Say whether it failed and is left alone, or has its probe out.  Told to come later is no rest."""
        return self._breaker.state is not State.CLOSED

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` when a probe is over: until then nobody knows when a call may pass."""
        self._wakes.append(wake)

    async def __call__(self, call: Call, service: Service, /) -> Reply:
        """Pass the call on, or raise Unavailable.  Cancel: the probe is given back."""
        now = self._clock.now
        entered_at = now()
        ticket = self._breaker.enter(entered_at)
        if ticket is None:
            if (
                not self.resting
            ):  # told so after this call was handed here: it is no failure, and the line waits
                raise NotYet(self._breaker.ready_in(entered_at))
            raise Unavailable(f"{self._endpoint} is resting after failures")
        self.in_flight += 1
        try:
            reply = await service(call)
        except BaseException as error:
            self._left(ticket, entered_at, End.FAILED, error)
            raise
        return reply.on_end(partial(self._left, ticket, entered_at))

    def _left(self, ticket: int, entered_at: float, end: End, error: BaseException | None) -> None:
        self.in_flight -= 1
        now = self._clock.now()
        breaker = self._breaker
        if isinstance(error, UpstreamError):
            self.last_failure = error.code or type(error).__name__
        if end is End.COMPLETED:
            breaker.left_well(now, entered_at)
        elif not isinstance(error, UpstreamError):
            breaker.left_unknown(ticket)  # the caller left, or its time was over: proves nothing
        elif error.retry_after_s is not None and error.retryable and isinstance(error, Refused):
            breaker.told(now, entered_at, error.retry_after_s)
            breaker.left_unknown(ticket)  # busy is not broken
        elif error.permanent and self._keyed:
            breaker.left_unknown(ticket)  # the endpoint is well; its key rests until it is known again
        elif isinstance(error, Refused) and not error.permanent and error.status < 500:
            breaker.left_unknown(ticket)  # it answered: the call was wrong, or it is busy
        else:
            breaker.left_badly(now, ticket, at_once=error.permanent)
        if breaker.state is not self._was:
            self._changed(breaker.state)
        if ticket and not isinstance(error, NotYet):  # it was a probe; after NotYet the line looks by itself
            for wake in self._wakes:
                wake()

    def _changed(self, state: State) -> None:
        self._was = state
        self._gauge.set(0 if state is State.CLOSED else 1)
        level = logging.WARNING if state is State.OPEN else logging.INFO
        log_event(log, level, "breaker.changed", endpoint=self._endpoint, state=state.value)
