"""Note every attempt in the call's trail: which endpoint, how long, how it ended.

Before: begins the entry.  At the end: closes it, counts it.  Innermost: it sees what really went out.
"""

from __future__ import annotations

import asyncio
from functools import partial

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import UpstreamError
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service
from stanchion.core.trail import Attempt
from stanchion.observe.metrics import Metrics


class TraceAttempt:
    """The attempts of one endpoint."""

    def __init__(self, endpoint: str, model: str, metrics: Metrics, clock: Clock | None = None) -> None:
        self._endpoint = endpoint
        self._model = model
        self._metrics = metrics
        self._clock = clock or Clock()

    async def __call__(self, call: Call, service: Service, /) -> Reply:
        """Pass the call on; note how it ends."""
        attempt = Attempt(self._endpoint, self._model, self._clock.now())
        call.trail.began(attempt)
        try:
            reply = await service(call)
        except asyncio.CancelledError as error:
            self._ended(attempt, End.CANCELLED, error)
            raise
        except BaseException as error:
            self._ended(attempt, End.FAILED, error)
            raise
        attempt.status = reply.head.status
        return reply.on_end(partial(self._ended, attempt))

    def _ended(self, attempt: Attempt, end: End, error: BaseException | None) -> None:
        attempt.ended_at = self._clock.now()
        attempt.outcome = end.word
        kind = ""
        if isinstance(error, UpstreamError):
            attempt.code, attempt.sent, kind = error.code, error.sent.value, type(error).__name__
            if error.upstream_status is not None:
                attempt.status = error.upstream_status  # else that of the answer that was cut
        self._metrics.attempts.of(self._endpoint, end.word, kind).inc()
