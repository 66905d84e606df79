"""One attempt that may be late, and perhaps a second beside it."""

from __future__ import annotations

import asyncio
import logging
import math
from asyncio import current_task
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import StanchionError
from stanchion.core.reply import Reply
from stanchion.core.service import Endpoint, Service
from stanchion.core.trail import Attempt, Branch
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.policies.hedge.options import HedgeOptions
from stanchion.rules.hedge_budget import HedgeBudget
from stanchion.rules.latency import Latencies, Latency

log = logging.getLogger(__name__)
_CLOSING_S = (
    1.0  # seconds that a cancelled attempt may take to close; it takes one turn of the loop, nearly always
)
Learned = Latencies[
    tuple[str, str, bool]
]  # by place ("provider/model"), operation, and whether it is a stream


class Owner(Protocol):
    """The filter, as far as a race knows it."""

    another: Callable[[Call, str, float], Endpoint | None]
    spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
    clock: Clock
    metrics: Metrics
    learned: Learned
    hold: Callable[[Call], Awaitable[bool]] | None
    budget: HedgeBudget

    def refused(self, reason: str) -> None:
        """Count a late attempt that got none beside it."""
        ...


class Race:
    """One try of a call.  The first attempt runs in the call's own task: only a second one costs another."""

    __slots__ = (
        "_after_s",
        "_alarm",
        "_at",
        "_begun",
        "_beside",
        "_call",
        "_cut",
        "_first",
        "_options",
        "_over",
        "_owner",
        "_second",
        "_task",
        "_winner",
    )

    def __init__(self, owner: Owner, call: Call, options: HedgeOptions) -> None:
        self._owner = owner
        self._call = call
        self._options = options
        self._first = Branch.of(call.trail, self._goes_out)
        self._beside = Branch.of(call.trail, _is_hedge)
        self._task: asyncio.Task[object] | None = None  # the call's, while the first attempt runs in it
        self._alarm = 0
        self._after_s = math.inf  # so late is late
        self._second: asyncio.Task[None] | None = None
        self._at = ""  # where the second attempt is made
        self._begun = False  # the second's task
        self._over = False  # a second attempt is not wanted any more
        self._cut = False  # the second was first, and we cancelled the call's task
        self._winner: Reply | None = None  # the second's, if it was first

    async def run(self, service: Service) -> Reply:
        """Answer from the first attempt, or from the second."""
        self._task = task = current_task(self._owner.clock.loop)
        assert task is not None  # noqa: S101 - a coroutine of ours runs in one
        cancelling = task.cancelling()
        try:
            reply = await service(self._call.having(trail=self._first))
            await reply.first()
        except BaseException as error:
            self._first_ended()
            if isinstance(error, asyncio.CancelledError):
                self._learn_left(self._first.last)
            won = await self._without_first(error, task, cancelling) if self._second is not None else None
            if won is None:
                raise
            return won
        self._first_ended()
        attempt = self._first.last
        if attempt is not None and reply.first_at is not None:
            self._latency(attempt).add(reply.first_at - attempt.started_at, reply.first_at)
        return reply if self._second is None else await self._with_first(reply, task)

    def _first_ended(self) -> None:
        """Note that it answered or failed.  What was bound to us is let go of: else it would be a circle."""
        self._task = self._first.begun = None
        if self._alarm:
            self._owner.clock.take_back(self._alarm)

    def _goes_out(self, attempt: Attempt) -> None:
        """Note that the first attempt goes out: now, and not when it began to wait in a line, its time begins."""
        if self._second is not None:  # it was sent back to the line, and comes out of it
            if attempt.endpoint == self._at:
                self._give_up_second()  # never two on one key
            return
        latency, now, options = self._latency(attempt), attempt.started_at, self._options
        if latency.samples(now) >= options.least_samples:
            self._after_s = latency.quantile(options.quantile)
            self._owner.clock.take_back(self._alarm)
            self._alarm = self._owner.clock.set(now + self._after_s, self._late)

    def _late(self) -> None:
        """Make a second attempt, if one may be made."""
        attempt, owner = self._first.last, self._owner
        if attempt is None or attempt.ended_at is not None:
            return  # it was sent back to the line
        endpoint = owner.another(self._call, attempt.endpoint, self._options.fill_most)
        if endpoint is None:
            owner.refused("none_ready")
        elif not owner.budget.take():
            owner.refused("share_spent")
        else:
            self._at = endpoint.name
            self._second = owner.spawn(self._ask(endpoint))

    async def _ask(self, endpoint: Endpoint) -> None:
        """Make the second attempt, up to its first chunk."""
        branch, owner, call = self._beside, self._owner, self._call
        try:
            if self._over:
                return
            self._begun = True
            if owner.hold is not None and not await owner.hold(call):
                owner.refused("over_budget")
                return
            reply = await endpoint(call.having(trail=branch))
            await reply.first()
        except StanchionError as error:
            log.debug("hedge.failed: %s", error.code)
            return
        finally:
            if branch.last is None:  # nothing was sent
                owner.budget.give_back()
        if branch.last is not None and reply.first_at is not None:
            self._latency(branch.last).add(reply.first_at - branch.last.started_at, reply.first_at)
        self._winner = reply
        if self._task is not None:
            self._cut = True
            if self._first.last is not None and self._first.last.ended_at is None:
                self._first.last.lost = True
            self._task.cancel()

    async def _with_first(self, reply: Reply, task: asyncio.Task[object]) -> Reply:
        """Answer from the first attempt: the second is not needed."""
        if self._cut:  # the cancellation was swallowed: below somebody had the answer already
            task.uncancel()
            await reply.aclose()
            return self._second_won()
        try:
            await self._stop("lost")
        except BaseException:
            await reply.aclose()
            raise
        return reply

    async def _without_first(
        self, error: BaseException, task: asyncio.Task[object], cancelling: int
    ) -> Reply | None:
        """Return the second's answer, since the first was cancelled or has failed; None if there is none."""
        if self._cut and task.uncancel() <= cancelling:
            return self._second_won()
        if not isinstance(error, StanchionError):
            await self._stop("left")
            return None
        second = self._second
        assert second is not None  # noqa: S101 - asked only then
        try:
            await asyncio.wait([second])  # bounded as any attempt
        except BaseException:
            await self._stop("left")
            raise
        if self._winner is None:
            self._said("failed")
            return None
        return self._second_won()

    def _second_won(self) -> Reply:
        winner, self._winner = self._winner, None
        assert winner is not None  # noqa: S101 - asked only then
        self._said("won")
        return winner

    async def _stop(self, outcome: str) -> None:
        """End the second attempt, and wait until what it used is in the trail."""
        second, attempt = self._second, self._beside.last
        failed = second is not None and second.done() and self._winner is None
        if outcome == "lost" and attempt is not None:
            attempt.lost = True
            if not failed:
                self._learn_left(attempt)
        try:
            self._give_up_second()
            if self._begun and second is not None and not second.done():
                await asyncio.wait([second], timeout=_CLOSING_S)
        finally:
            winner, self._winner = self._winner, None
            if winner is not None:
                await winner.aclose()
        self._said("failed" if failed and outcome == "lost" else outcome)

    def _give_up_second(self) -> None:
        self._over = True
        if self._begun and self._second is not None:  # one that did not begin looks by itself
            self._second.cancel()

    def _latency(self, attempt: Attempt) -> Latency:
        """Return what is known of an attempt's kind: all keys of a provider's model are of one."""
        call = self._call
        place = attempt.endpoint.partition("#")[0]
        return self._owner.learned.of((place, call.operation.path, call.stream), attempt.started_at)

    def _learn_left(self, attempt: Attempt | None) -> None:
        """Learn from an attempt that was left before its first chunk: it was late, and nobody knows how late."""
        if attempt is None:
            return
        now, latency = self._owner.clock.now(), self._latency(attempt)
        seconds = now - attempt.started_at
        if seconds >= latency.quantile(self._options.quantile):  # of others nothing is known
            latency.add(math.inf, now)

    def _said(self, outcome: str) -> None:
        """Count what became of a second attempt; one that was never sent is none."""
        attempt = self._beside.last
        if attempt is None:
            return
        call, first = self._call, self._first.last
        call.trail.hedged = outcome
        self._owner.metrics.hedges.of(outcome).inc()
        log_event(
            log,
            logging.INFO,
            "hedge.ended",
            id=call.id,
            endpoint=attempt.endpoint,
            beside=first.endpoint if first is not None else None,
            after_s=round(self._after_s, 3),
            outcome=outcome,
        )


def _is_hedge(attempt: Attempt) -> None:
    attempt.hedge = True
