"""Keep to the provider's limits for one key and model, to the brim and without a 429.

Before: books the call on the mirror of the provider's limiter (`rules/quota.py`), with its store where several
processes share one; raises NotYet if there is no room, Refused if there never will be.  At the head: follows
the headers.  At the end: books what the answer used.  Cancel: what was booked stays booked, the provider may
have charged it.  Stands below the balancer, which asks `ready_in` and keeps the line; above the attempt's
timeout, since waiting for the store is none of the provider's time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec

from stanchion.core.call import Body, Call, Operation
from stanchion.core.clock import Clock
from stanchion.core.errors import NotYet, Refused, Sent, UpstreamError
from stanchion.core.rates import Rate
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service
from stanchion.observe.metrics import Metrics
from stanchion.rules.charge import charge
from stanchion.rules.gauge import Gauge, Mark, News
from stanchion.rules.quota import NO_CEILINGS, Ceilings, Mirror, Ticket
from stanchion.stores.protocols import Change, Limits, Seen, Slot, Take
from stanchion.wire.ratelimit_headers import RateReader, read_rates
from stanchion.wire.ratelimit_words import read_refusal


class RateLimitOptions(msgspec.Struct, frozen=True):
    """Whether the provider's limits are learned and kept to."""

    learn: bool = True  # false: nothing waits but for the limits that are configured


class Quota(msgspec.Struct, frozen=True):
    """What is known beforehand of one endpoint's limits."""

    ceilings: Ceilings = NO_CEILINGS  # never more than this, whatever the provider allows
    starts: Ceilings = NO_CEILINGS  # the provider's own limits, until its answers tell better
    careful: bool = (
        True  # a few calls first, until an answer tells the limits; a server of one's own has none
    )
    open_most: int = 0  # calls that are open there at once, of all who share its limits; 0 is any number
    reserves_output: bool = False  # the provider charges `max_tokens` before it admits a call


NO_QUOTA = Quota()


class SharedLimits(msgspec.Struct, frozen=True):
    """The limits that several processes keep together."""

    limits: Limits
    later: Callable[[Sequence[Change]], None]  # does the changes in the background
    free: Callable[[str, str], None]  # gives a slot back that a holder has, in the background


_SLOT_MOST_S = (
    3600.0  # a process that died holds its slots at most so long, and no longer than its calls could live
)
_SLOT_AGAIN_S = 0.25  # between two looks for a slot
_SLOT_MORE_S = 5.0  # beyond the call's deadline
_SHOWN_EVERY_S = 0.25  # of the metric
_AGAIN_MOST = 3  # refusals of one call that send it back to the line; then the retry rules decide
_CEILING_ROOM = 0.1  # of the window: of a ceiling in a store, so that no window sees more than the limit
_CEILING_COST = 1.0 + _CEILING_ROOM


class RateLimit:
    """The limits of one endpoint."""

    def __init__(
        self,
        endpoint: str,
        options: RateLimitOptions,
        metrics: Metrics,
        clock: Clock,
        quota: Quota = NO_QUOTA,
        shared: SharedLimits | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._learn = options.learn
        self._refusals = metrics.quota_refusals.of(endpoint)
        self._used = metrics.quota_used.of(endpoint)
        self._clock = clock
        self._quota = quota
        self._shared = shared
        self._reader = RateReader()
        self._wakes: list[Callable[[], None]] = []
        self._made: Mirror | None = None
        self._news: list[News] = []
        self._holders = itertools.count()
        self._slot = f"{endpoint} open"
        self._shown_at = -_SHOWN_EVERY_S
        self._cleared: Body | None = None  # it was asked for and has room, and nothing was taken since
        self._weighed: tuple[Body | None, int] = (None, 0)  # the charge of the call that was asked for last

    def ready_in(self, now: float, call: Call | None) -> float:
        """Say in how many seconds a call could be sent.  0 for one that never can: it is refused when sent."""
        if call is not None and call.operation is Operation.MODELS:
            return 0.0
        mirror = self._mirror(now)
        tokens = self._charge(mirror, call) if call is not None else 1
        wait_s = 0.0 if mirror.too_large(tokens) else mirror.ready_in(now, tokens)
        self._cleared = call.body if call is not None and wait_s == 0 else None
        return wait_s

    def fill(self) -> float:
        """Say which part of the fullest limit is used, 0 to 1."""
        return self._made.fill(self._clock.now()) if self._made is not None else 0.0

    def text(self) -> str:
        """Say what is left of each limit."""
        return self._made.text(self._clock.now()) if self._made is not None else ""

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` when there may be room earlier than `ready_in` said."""
        self._wakes.append(wake)

    async def __call__(self, call: Call, service: Service, /) -> Reply:
        """Pass the call on.  Raises NotYet or Refused; nothing was sent then."""
        if call.operation is Operation.MODELS:
            return await service(call)
        now = self._clock.now()
        mirror = self._mirror(now)
        tokens = self._charge(mirror, call)
        self._refuse_too_large(mirror, tokens)
        if self._cleared is not call.body:
            wait_s = mirror.ready_in(now, tokens)
            if wait_s > 0:
                raise NotYet(wait_s)
        self._cleared = None
        ticket = mirror.take(now, tokens)
        holder = ""
        if self._shared is not None:
            holder = (
                f"{call.id}.{next(self._holders)}"  # of this try: its slot is given back after the next began
            )
            await self._take_shared(self._shared, mirror, ticket, call, holder)
        try:
            reply = await service(call)
        except UpstreamError as error:
            understood = self._failed(mirror, ticket, error)
            self._left(holder)
            if understood and _refusals(call, self._endpoint) <= _AGAIN_MOST:
                wait_s = mirror.ready_in(self._clock.now(), tokens)
                raise NotYet(wait_s) from error  # back to the line, which knows when it is worth asking
            raise
        except BaseException:
            self._ended(mirror, ticket, None, holder, End.CANCELLED, None)
            raise
        rates: Sequence[Rate] = ()
        if self._learn:
            careful = self._reader.careful
            rates = self._reader.read(reply.head.headers, now=datetime.now(UTC) if careful else None)
        now = self._clock.now()
        mirror.answered(now, ticket, rates)
        if now >= self._shown_at + _SHOWN_EVERY_S:
            self._shown_at = now
            self._used.set(mirror.fill(now))
        self._changed()
        return reply.on_end(partial(self._ended, mirror, ticket, reply, holder))

    async def _take_shared(
        self, shared: SharedLimits, mirror: Mirror, ticket: Ticket, call: Call, holder: str
    ) -> None:
        """Book in the store what was booked here.  Raises NotYet if others left no room."""
        marks = mirror.shared(ticket)
        slots = self._slots(call)
        if not marks and not slots:
            return
        takes = [self._take(mark) for mark in marks]
        try:
            taken = await shared.limits.take(takes, slots, holder)
        except BaseException:
            mirror.unsent(ticket)
            raise
        now = self._clock.now()
        if taken.wait_s > 0:
            mirror.unsent(ticket)
        for mark, depth_s, booked_s in zip(marks, taken.depth_s, taken.booked_s, strict=True):
            if not mark.gauge.ours:
                mark.gauge.booked_in_store(now, mark, taken.at, booked_s, depth_s)
        if taken.wait_s > 0:
            # a slot that another process gives back wakes nobody here
            raise NotYet(min(taken.wait_s, _SLOT_AGAIN_S) if slots else taken.wait_s)

    def _slots(self, call: Call) -> Sequence[Slot]:
        most = self._quota.open_most
        if not most:
            return ()
        life_s = min(call.deadline - self._clock.now(), _SLOT_MOST_S)
        return (Slot(self._slot, most, max(life_s, 0.0) + _SLOT_MORE_S),)

    def _left(self, holder: str) -> None:
        if self._shared is not None and self._quota.open_most:
            self._shared.free(self._slot, holder)

    def _take(self, mark: Mark) -> Take:
        gauge = mark.gauge
        if gauge.ours:
            return Take(self._meter(gauge), mark.cost_s * _CEILING_COST, gauge.window_s * _CEILING_ROOM)
        return Take(self._meter(gauge), mark.cost_s, mark.room_s)

    def _meter(self, gauge: Gauge) -> str:
        return f"{self._endpoint} {gauge.kind}/{gauge.window_s:g}{' ceiling' if gauge.ours else ''}"

    def _refuse_too_large(self, mirror: Mirror, tokens: int) -> None:
        gauge = mirror.too_large(tokens)
        if gauge is not None:
            raise Refused(
                f"the call is charged {tokens} tokens and {self._endpoint} allows {gauge.limit:.0f} "
                f"in {gauge.window_s:.0f} s: it can never fit; shorten it, or ask another model",
                status=429,
                type="tokens",
                code="request_too_large",
                sent=Sent.NOT_SENT,
                retryable=False,
                endpoint=self._endpoint,
            )

    def _failed(self, mirror: Mirror, ticket: Ticket, error: UpstreamError) -> bool:
        """Say whether the mirror knows now why the call was refused, and when it will not be."""
        understood = False
        now = self._clock.now()
        if error.sent is Sent.NOT_SENT or error.permanent:
            mirror.unsent(ticket)
        elif error.upstream_status == 429:
            self._refusals.inc()
            words = read_refusal(error.said) if self._learn else None
            rates = read_rates(error.headers, now=datetime.now(UTC)) if self._learn else []
            if self._learn:
                mirror.refused(now, ticket, words, rates, error.retry_after_s)
                understood = (words is not None and not words.too_large) or bool(rates)
            else:
                mirror.unsent(ticket)
        else:
            mirror.ended(now, ticket, 0)
        self._changed()
        return understood

    def _ended(
        self,
        mirror: Mirror,
        ticket: Ticket,
        reply: Reply | None,
        holder: str,
        end: End,
        error: BaseException | None,
    ) -> None:
        del end, error
        output = reply.usage.output if reply is not None and reply.usage is not None else 0
        mirror.ended(self._clock.now(), ticket, output)
        self._left(holder)
        self._changed()

    def _changed(self) -> None:
        """Tell those who share the limits, and those who wait here."""
        if self._news and self._shared is not None:
            news, self._news[:] = list(self._news), []
            self._shared.later([self._change(each) for each in news])
        for wake in self._wakes:
            wake()

    def _change(self, news: News) -> Change:
        cost_s = news.cost_s * (_CEILING_COST if news.gauge.ours else 1.0)
        return Change(self._meter(news.gauge), cost_s, Seen(*news.seen) if news.seen is not None else None)

    def _mirror(self, now: float) -> Mirror:
        if self._made is None:
            news = self._news if self._shared is not None else None
            quota = self._quota
            careful = self._learn and quota.careful
            self._made = Mirror(now, quota.ceilings, quota.starts, careful=careful, news=news)
        return self._made

    def _charge(self, mirror: Mirror, call: Call) -> int:
        if not mirror.wants_charge:
            return 1
        if self._weighed[0] is not call.body:  # asked for before it is sent, and then sent: weighed once
            tokens = charge(call.body.fields, reserves_output=self._quota.reserves_output)
            self._weighed = (call.body, tokens)
        return self._weighed[1]


def _refusals(call: Call, endpoint: str) -> int:
    """Count how often this call was refused for its rate here."""
    return sum(each.endpoint == endpoint and each.status == 429 for each in call.trail.attempts)
