"""Count every call and write its one canonical log line.

Before: counts it as open.  At the end: counters, times, tokens, one line with everything but content.
Holds nothing.  Stands outermost, so refusals are counted too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from itertools import compress

from msgspec.structs import astuple

from stanchion.core.call import Body, Call
from stanchion.core.clock import Clock
from stanchion.core.errors import StanchionError
from stanchion.core.later import Later
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service
from stanchion.core.usage import CLASSES, Usage
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics

log = logging.getLogger("stanchion.calls")
_NO_BODY = Body({})
Booked = Callable[
    [Call, Reply | None, End, str, float], None
]  # with the error's class and the seconds it took


class Record:
    """Outermost: one line and one count per call, whatever happens to it."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock | None = None,
        booked: Booked | None = None,
        later: Later | None = None,
    ) -> None:
        """`booked` is told of every end, to count its money.  Without `later` all is counted at the end itself."""
        self._metrics = metrics
        self._booked = booked
        self._later = later
        self._clock = clock or Clock()
        self._open = metrics.calls_open.of()

    async def __call__(self, call: Call, service: Service, /) -> Reply:
        """Pass the call on; record how it ends."""
        started_at = self._clock.now()
        self._open.value += 1
        try:
            reply = await service(call)
        except asyncio.CancelledError as error:
            self._ended(call, started_at, None, End.CANCELLED, error)
            raise
        except BaseException as error:
            self._ended(call, started_at, None, End.FAILED, error)
            raise
        told = (
            call.having(body=_small(call.body)) if call.stream else call
        )  # a stream would keep its request to the end
        return reply.on_end(partial(self._ended, told, started_at, reply))

    def _ended(
        self,
        call: Call,
        started_at: float,
        reply: Reply | None,
        end: End,
        error: BaseException | None,
    ) -> None:
        self._open.value -= 1
        told = partial(self._told, call, started_at, self._clock.now(), reply, end, _code(end, error))
        if self._later is None:
            told()
        else:
            self._later(told)

    def _told(
        self, call: Call, started_at: float, now: float, reply: Reply | None, end: End, code: str
    ) -> None:
        metrics, operation = self._metrics, call.operation.path
        metrics.calls.of(operation, end.word, code).value += 1
        metrics.call_seconds.of(operation).observe(now - started_at)
        if reply is not None:
            first_at = reply.first_at if call.stream else now
            if first_at is not None:
                metrics.first_chunk_seconds.of(operation).observe(first_at - started_at)
        usage = call.trail.usage
        if usage is not None:
            self._count_tokens(usage)
        if self._booked is not None:
            self._booked(call, reply, end, code, now - started_at)
        if log.isEnabledFor(logging.INFO):
            self._line(call, started_at, now, reply, end, code)

    def _count_tokens(self, usage: Usage) -> None:
        count, estimated = self._metrics.tokens.of, "true" if usage.estimated else "false"
        for name in compress(CLASSES, astuple(usage)):  # its first fields are the classes, and most are empty
            count(name, estimated).value += getattr(usage, name)

    def _line(
        self, call: Call, started_at: float, now: float, reply: Reply | None, end: End, code: str
    ) -> None:
        usage = call.trail.usage
        first_at = reply.first_at if reply is not None else None
        log_event(
            log,
            logging.INFO,
            "call.ended",
            id=call.id,
            operation=call.operation.path,
            stream=call.stream,
            caller=(call.caller if call.caller_key else None),
            caller_key=call.caller_key or None,
            team=call.team or None,
            outcome=end.word,
            code=code or None,
            endpoint=reply.head.endpoint if reply is not None else None,
            cache=(reply.head.cache or None) if reply is not None else None,
            attempts=len(call.trail.attempts),
            resumed=call.trail.resumed or None,
            hedged=call.trail.hedged or None,
            seconds=round(now - started_at, 4),
            first_chunk_s=round(first_at - started_at, 4) if first_at is not None else None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            tokens_estimated=(usage.estimated or None) if usage else None,
        )


def _small(body: Body) -> Body:
    """Return what is told of a body at the end: how it was to be served."""
    tier = body.fields.get("service_tier")
    return _NO_BODY if tier is None else Body({"service_tier": tier})


def _code(end: End, error: BaseException | None) -> str:
    """Name the failure by a code of a bounded list: the provider's own codes are data, not labels."""
    if end is not End.FAILED or error is None:
        return ""
    if isinstance(error, StanchionError):
        return type(error).__name__
    return "internal_error"
