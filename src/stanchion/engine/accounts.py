"""Turns the end of each call into lines of the ledger, and into the metrics of money.

One line for the call with the attempt that it ended with, one for each other attempt that used tokens, also if it lost
a race: each attempt is counted at the price of the place that it was made at.  What is used after a call has ended, since somebody else
still reads it, becomes a line when it is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import msgspec

from stanchion.core.call import Call, Operation
from stanchion.core.reply import End, Reply
from stanchion.core.trail import Attempt, Trail
from stanchion.core.usage import CLASSES, Cost, Usage
from stanchion.engine.prices import PriceBook
from stanchion.observe.metrics import Metrics
from stanchion.stores.ledger import SUMS, Line
from stanchion.wire.usage import read_tier

Post = Callable[[Line], None]
SEMANTIC = "semantic-cache"  # the "provider" of answers that were given to a question that means the same
_NAMES_MOST = 10_000  # endpoints, and callers without a key, that one process keeps apart
_TEXT_MOST = 200  # characters of a name: callers choose some
_TOKENS_MOST = 10**9  # of one attempt and class: more is nonsense, and sums of it would not fit
_NOTHING = (0,) * len(CLASSES)
_ATTEMPTS = SUMS.index("attempts")


class Accounts:
    """Books calls.  Called by Record at each end; synchronous, and never waits."""

    def __init__(
        self,
        prices: PriceBook,
        metrics: Metrics,
        post: Post | None = None,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`post` takes the lines; without it only metrics are counted.  `wall` tells seconds since 1970."""
        self._prices = prices
        self._metrics = metrics
        self._posts = post is not None
        self._post = post or _nowhere
        self._wall = wall
        self._endpoints = set[str]()
        self._callers = set[str]()
        self._models = set[str]()  # names of models that need not be shortened

    def __call__(self, call: Call, reply: Reply | None, end: End, code: str, seconds: float) -> None:
        """Book a call that ended."""
        if call.operation is Operation.MODELS:
            return  # it costs nothing, and pages ask for it all the time
        trail = call.trail
        attempts = trail.attempts
        if not self._posts:
            tier = read_tier(call.body.fields.get("service_tier"))
            for attempt in attempts:
                if attempt.usage is not None:
                    self._priced(attempt, attempt.usage, tier)
            trail.late = partial(self._late_unposted, tier)
            return
        asked_tier = read_tier(call.body.fields.get("service_tier"))
        last = attempts[-1] if attempts else None  # the one that its answer, or its failure, is of
        if last is not None and last.lost:
            last = trail.answering
        if last is None and reply is not None:  # answered without a provider of its own
            near = reply.head.cache == "semantic"  # counted apart, as if from a provider of that name
            last = Attempt(SEMANTIC if near else reply.head.endpoint, reply.head.model, 0.0)
        counts = (
            1,
            1 if end is End.FAILED else 0,
            1 if end is End.CANCELLED else 0,
            1 if reply is not None and not attempts else 0,  # from the cache
            len(attempts),
        )
        tier, sums = self._sums(counts, last, asked_tier)
        line = Line(
            call=call.id,
            number=0,
            at=self._wall(),
            team=call.team,
            # callers with a key are known; others are as many as there are addresses
            caller=call.caller if call.caller_key else _bounded(call.caller, self._callers),
            key=call.caller_key,
            model="" if last is None else self._model(last.model),
            endpoint="" if last is None else _bounded(last.endpoint, self._endpoints),
            operation=call.operation.path,
            asked=self._model(call.model),
            outcome=end.word,
            code=code,
            tier=tier,
            stream=call.stream,
            seconds=seconds,
            sums=sums,
        )
        if len(attempts) != 1 or end is not End.COMPLETED or attempts[0].ended_at is None:
            self._others(line, asked_tier, trail, last)
        self._post(line)  # after the one attempt that answered nothing comes any more: nearly always

    def _others(self, line: Line, asked_tier: str, trail: Trail, last: Attempt | None) -> None:
        """Book the attempts that are not the call's last, and those that end after it."""
        for number, attempt in enumerate(trail.attempts, 1):
            if attempt is not last and attempt.usage is not None:
                self._other(line, asked_tier, number, attempt, 0)
        # it knows no call and no trail: a trail holds it
        trail.late = partial(self._late, line, asked_tier)

    def _late_unposted(self, tier: str, number: int, attempt: Attempt) -> None:
        del number
        if attempt.usage is not None:
            self._priced(attempt, attempt.usage, tier)

    def _late(self, line: Line, asked_tier: str, number: int, attempt: Attempt) -> None:
        """Book what was used after the call of this line has ended."""
        self._other(line, asked_tier, number, attempt, 1 if number > line.sums[_ATTEMPTS] else 0)

    def _other(self, line: Line, asked_tier: str, number: int, attempt: Attempt, more: int) -> None:
        """Book another attempt of the call of this line."""
        seconds = 0.0 if attempt.ended_at is None else attempt.ended_at - attempt.started_at
        tier, sums = self._sums((0, 0, 0, 0, more), attempt, asked_tier)
        self._post(
            msgspec.structs.replace(
                line,
                number=number,
                at=self._wall(),
                model=self._model(attempt.model),
                endpoint=_bounded(attempt.endpoint, self._endpoints),
                outcome=attempt.outcome,
                code=attempt.code or "",
                tier=tier,
                seconds=seconds,
                sums=sums,
            )
        )

    def _model(self, name: str) -> str:
        """Return what a table can show of a model's name."""
        known = self._models
        if name in known:
            return name
        short = _short(name)
        if short == name:
            if len(known) >= _NAMES_MOST:
                known.clear()
            known.add(name)
        return short

    def _sums(
        self, counts: tuple[int, ...], attempt: Attempt | None, tier: str
    ) -> tuple[str, tuple[int, ...]]:
        """Return the tier of an attempt, and what it adds to the sums, in the order of SUMS."""
        usage = None if attempt is None else attempt.usage
        if attempt is None or usage is None:
            return tier, (*counts, 0, 0, *_NOTHING, *_NOTHING)
        tier, tokens, cost = self._priced(attempt, usage, tier)
        estimated, unpriced = 1 if usage.estimated else 0, 0 if cost.known else 1
        return tier, (*counts, estimated, unpriced, *tokens, *cost.parts)

    def _priced(self, attempt: Attempt, usage: Usage, asked_tier: str) -> tuple[str, tuple[int, ...], Cost]:
        """Return the tier, the tokens and the cost of an attempt; count the cost."""
        # who never told what was used never told the tier either: the one that was asked for is likely
        tier = asked_tier if usage.estimated else usage.tier
        usage, tokens = _counted(usage, tier)
        cost = self._prices.cost_of(attempt, usage)
        micro_usd = sum(cost.parts)
        if micro_usd:
            self._metrics.cost.of(attempt.endpoint).value += micro_usd
        if not cost.known:
            self._metrics.unpriced.of(attempt.endpoint).value += 1
        return tier, tokens, cost


def _nowhere(line: Line) -> None:
    """Keep no ledger."""
    del line


def _bounded(name: str, known: set[str]) -> str:
    """Return what a table can show of a name; "other" where there are too many: of models, of addresses."""
    if name in known:
        return name
    name = _short(name)
    if name in known:
        return name
    if len(known) >= _NAMES_MOST:
        return "other"
    known.add(name)
    return name


def _counted(usage: Usage, tier: str) -> tuple[Usage, tuple[int, ...]]:
    """Return the usage as it is booked, and its tokens by class."""
    tokens = (
        usage.input,
        usage.input_cached,
        usage.input_cache_write,
        usage.input_audio,
        usage.output,
        usage.output_reasoning,
        usage.output_audio,
    )
    if max(tokens) > _TOKENS_MOST:
        fewer: tuple[int, ...] = tuple([min(each, _TOKENS_MOST) for each in tokens])
        return Usage(**dict(zip(CLASSES, fewer, strict=True)), estimated=usage.estimated, tier=tier), fewer
    return usage if usage.tier == tier else msgspec.structs.replace(usage, tier=tier), tokens


def _short(text: str) -> str:
    """Return what a database takes and a table can show."""
    if len(text) <= _TEXT_MOST and text.isascii() and "\0" not in text:
        return text
    return text[:_TEXT_MOST].replace("\0", "").encode("utf-8", "replace").decode()  # no half of a pair
