"""Keep to the provider's limits for one key and model, to the brim and without a 429.

Before: books the call on the mirror of the provider's limiter (`rules/quota.py`), and in the store where several
processes share one, together with what the call owes there (`stores/dues.py`); raises NotYet if there is no room, Refused if there never will be.  At the head: follows
the headers.  At the end: books what the answer used.  Cancel: what was booked stays booked, the provider may
have charged it.  Stands below the balancer, which asks `ready_in` and keeps the line; above the attempt's
timeout, since waiting for the store is none of the provider's time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from stanchion.core.call import Call, Operation
from stanchion.core.clock import Clock
from stanchion.core.errors import CallerError, NotYet, Refused, Sent, UpstreamError
from stanchion.core.rates import Level, Rate
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service
from stanchion.observe.metrics import Metrics
from stanchion.policies.rate_limit.options import NO_QUOTA, Quota, RateLimitOptions, SharedLimits
from stanchion.policies.rate_limit.together import Together
from stanchion.rules.calm import Calm
from stanchion.rules.charge import IMAGE_TOKENS, charge, charge_of
from stanchion.rules.quota import Mirror, Ticket
from stanchion.rules.refusals import NO_CAPACITY
from stanchion.wire.ratelimit_headers import RateReader, read_rates
from stanchion.wire.ratelimit_words import read_refusal

_AGAIN_MOST = 3  # refusals of one call that send it back to the line; then the retry rules decide
_SHOWN_EVERY_S = 0.25  # of the metric


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
        self._together = (
            Together(endpoint, shared, clock, open_most=quota.open_most) if shared is not None else None
        )
        self._reader = RateReader()
        self._wakes: list[Callable[[], None]] = []
        self._made: Mirror | None = None
        self._calm: Calm | None = None
        self._shown_at = -_SHOWN_EVERY_S
        self._cleared = ""  # which call was asked for and has room, if nothing was taken since
        # what was found of the call that was asked for last: it is asked for before it is sent, and then sent
        self._weighed = ("", 0)  # its charge
        self._glanced = ("", 0, 0)  # bytes of its body, and the bound of its charge

    def ready_in(self, now: float, call: Call | None) -> float:
        """Say in how many seconds a call could be sent.  0 for one that never can: it is refused when sent."""
        if call is not None and call.operation is Operation.MODELS:
            return 0.0
        calm = self._calm
        if calm is not None and call is not None and calm.has(now, self._most_tokens(call)):
            return 0.0
        mirror = self._mirror(now)
        tokens = self._charge(mirror, call) if call is not None else 1
        wait_s = 0.0 if mirror.too_large(tokens) else mirror.ready_in(now, tokens)
        self._cleared = call.id if call is not None and wait_s == 0 else ""
        return wait_s

    def fill(self) -> float:
        """Say which part of the fullest limit is used, 0 to 1."""
        return self._made.fill(self._clock.now()) if self._made is not None else 0.0

    def text(self) -> str:
        """Say what is left of each limit."""
        return self._made.text(self._clock.now()) if self._made is not None else ""

    def levels(self) -> list[Level]:
        """Say how full each limit is."""
        return self._made.levels(self._clock.now()) if self._made is not None else []

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` when there may be room earlier than `ready_in` said."""
        self._wakes.append(wake)

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass the call on.  Raises NotYet or Refused; nothing was sent then."""
        if call.operation is Operation.MODELS:
            return service(call)
        now = self._clock.now()
        calm = self._calm
        if calm is not None and calm.has(now, tokens := self._most_tokens(call)):
            return self._in_calm(call, service, calm, calm.take(tokens), now)
        return self._booked(call, service, now)

    async def _in_calm(self, call: Call, service: Service, calm: Calm, turn: int, at: float) -> Reply:
        """Pass on a call that is far from every limit."""
        try:
            reply = await service(call)
        except BaseException as error:
            calm.ended(self._clock.now(), turn, 0)
            if isinstance(error, UpstreamError) and error.upstream_status == 429:
                now = self._clock.now()
                calm.end(now)  # not as far as was thought
                mirror = self._mirror(now)
                self._say_again(mirror, call, error, understood=self._failed(mirror, Ticket(at, ()), error))
            raise
        return reply.on_end(partial(self._ended_in_calm, calm, turn, reply))

    def _ended_in_calm(
        self, calm: Calm, turn: int, reply: Reply, end: End, error: BaseException | None
    ) -> None:
        del end, error
        usage = reply.usage
        calm.ended(self._clock.now(), turn, usage.output if usage is not None else 0)

    async def _booked(self, call: Call, service: Service, now: float) -> Reply:
        """Pass on a call that is booked on each limit."""
        mirror = self._mirror(now)
        tokens = self._charge(mirror, call)
        self._refuse_too_large(mirror, tokens)
        if self._cleared != call.id:
            wait_s = mirror.ready_in(now, tokens)
            if wait_s > 0:
                raise NotYet(wait_s)
        self._cleared = ""
        ticket, together, holder = mirror.take(now, tokens), self._together, ""
        if together is not None:
            try:
                holder, call = await together.take(mirror, ticket, call)
            except CallerError:  # its own limits, not these: others may go
                self._changed()
                raise
        try:
            reply = await service(call)
        except NotYet:  # something below has no room: nothing was sent
            mirror.unsent(ticket)
            if together is not None:
                together.left(holder)
            self._changed()
            raise
        except UpstreamError as error:
            understood = self._failed(mirror, ticket, error)
            if together is not None:
                together.left(holder)
            self._say_again(mirror, call, error, understood=understood)
            raise
        except BaseException:
            self._ended(mirror, ticket, None, holder, End.CANCELLED, None)
            raise
        self._answered(mirror, ticket, reply)
        return reply.on_end(partial(self._ended, mirror, ticket, reply, holder))

    def _say_again(self, mirror: Mirror, call: Call, error: UpstreamError, *, understood: bool) -> None:
        """Send a call that met its limit back to the line, which knows when it is worth asking."""
        if understood and _refusals(call, self._endpoint) <= _AGAIN_MOST:
            raise NotYet(mirror.ready_in(self._clock.now(), self._charge(mirror, call))) from error

    def _answered(self, mirror: Mirror, ticket: Ticket, reply: Reply) -> None:
        rates: Sequence[Rate] = ()
        if self._learn:
            careful = self._reader.careful
            rates = self._reader.read(reply.head.headers, now=datetime.now(UTC) if careful else None)
        now = self._clock.now()
        mirror.answered(now, ticket, rates)
        if now >= self._shown_at + _SHOWN_EVERY_S:
            self._shown_at = now
            self._used.set(mirror.fill(now))
        if self._calm is not None:
            self._calm.begin(now)
        self._changed()

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
        if error.sent is Sent.NOT_SENT or error.permanent or error.code in NO_CAPACITY:
            mirror.unsent(ticket)
        elif error.upstream_status == 429:
            self._refusals.inc()
            if self._learn:
                words = read_refusal(error.said)
                rates = read_rates(error.headers, now=datetime.now(UTC))
                known = mirror.refused(now, ticket, words, rates, error.retry_after_s)
                understood = known and (words is None or not words.too_large)
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
        if self._together is not None:
            self._together.left(holder)
        self._changed()

    def _changed(self) -> None:
        """Tell those who share the limits, and those who wait here."""
        if self._together is not None:
            self._together.tell()
        for wake in self._wakes:
            wake()

    def _mirror(self, now: float) -> Mirror:
        if self._made is None:
            quota, together = self._quota, self._together
            careful = self._learn and quota.careful
            news = together.news if together is not None else None
            self._made = Mirror(now, quota.ceilings, quota.starts, careful=careful, news=news)
            if together is None and not quota.reserves_output and not quota.ceilings.all():
                self._calm = Calm(self._made)
        return self._made

    def _charge(self, mirror: Mirror, call: Call) -> int:
        if not mirror.wants_charge:
            return 1
        if self._weighed[0] != call.id:
            body = call.body
            tokens = (
                charge(body.fields, reserves_output=True) if self._quota.reserves_output else charge_of(body)
            )
            self._weighed = (call.id, tokens)
        return self._weighed[1]

    def _most_tokens(self, call: Call) -> int:
        """Return a bound of what a call is charged, for a glance: its bytes, and what images cost."""
        raw = call.body.raw
        glanced, size = self._glanced, len(raw)
        if glanced[0] != call.id or glanced[1] != size:
            glanced = self._glanced = (call.id, size, size + IMAGE_TOKENS * raw.count(b"image"))
        return glanced[2]


def _refusals(call: Call, endpoint: str) -> int:
    """Count how often this call was refused for its rate here."""
    return sum(each.endpoint == endpoint and each.status == 429 for each in call.trail.attempts)
