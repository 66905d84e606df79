"""The sync lane: each request is a call of its own, in the line behind interactive calls, answered at once.

Every row that can be answered ends here at the latest: what other lanes give back is asked here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from stanchion.batch.answers import UNTOLD, Answer, Problem
from stanchion.batch.lanes.lane import Cap, Item, Work
from stanchion.core.call import Body, Call, json_call
from stanchion.core.errors import Sent, StanchionError, UpstreamError
from stanchion.core.trail import Attempt, Trail
from stanchion.core.usage import Usage
from stanchion.engine.engine import Engine
from stanchion.engine.spread import Spread
from stanchion.engine.spread_outcome import Outcome, SpreadOptions
from stanchion.policies.deadline import DeadlineOptions
from stanchion.policies.retry import RetryOptions

_DAY_S = 86400.0  # seconds a call may wait for its turn and be answered: quotas of a day are waited for


class SyncLane:
    """A `Lane` over an engine."""

    name = "sync"

    def __init__(
        self, engine: Engine, options: SpreadOptions, *, cap: Cap | None = None, caller: str = ""
    ) -> None:
        """With a cap the engine has one try for each admission."""
        self._engine = engine
        self._options = options
        self._cap = cap
        self._caller = caller
        self._call_options: dict[type[Any], Any] = {DeadlineOptions: DeadlineOptions(total_s=_DAY_S)}
        if cap is not None:
            self._call_options[RetryOptions] = RetryOptions(attempts=1)
        self.spread: Spread[Item] | None = None  # while it runs

    async def run(self, work: Work) -> None:
        """Ask for each item.  Raises StanchionError where nobody can be asked any more."""

        def told(item: Item, outcome: Outcome | None) -> None:
            self._tell(work, item, outcome)

        gate = None if self._cap is None else _Capped(self._cap, self._used)
        self.spread = spread = Spread(self._engine, self._call, told, self._options, gate=gate, shelf=work)

        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_halt(work, spread))
            try:
                await spread.run(work.take)
            finally:
                watch.cancel()
        if spread.shut:
            work.capped()

    def _tell(self, work: Work, item: Item, outcome: Outcome | None) -> None:
        if outcome is None:
            work.back(item)
        else:
            work.done(item, self._answer(outcome))

    def _call(self, item: Item) -> Call:
        request = item.request
        return json_call(
            request.operation,
            Body.read(request.body),
            priority="batch",
            caller=self._caller,
            options=self._call_options,
        )

    def _answer(self, outcome: Outcome) -> Answer:
        """Return what is kept of an outcome."""
        usage, cost = self._used((*outcome.earlier, outcome.call.trail))
        error, head = outcome.error, outcome.head
        if error is None:
            assert head is not None  # noqa: S101 - an answer has one
            request_id = head.headers.get("x-request-id", "")
            return Answer(
                head.status, outcome.raw, None, request_id, self.name, outcome.attempts, usage, cost
            )
        status, body, request_id = error.status, b"", ""
        if isinstance(error, UpstreamError):
            status, body = error.upstream_status or 0, error.body or b""
            request_id = error.headers.get("x-request-id", "")
        problem = Problem(_told(error), error.code or type(error).__name__, error.param or "", error.type)
        return Answer(status, body, problem, request_id, self.name, outcome.attempts, usage, cost)

    def _used(self, trails: tuple[Trail, ...]) -> tuple[Usage | None, int]:
        """Return what all attempts used, and what that costs in micro-dollars."""
        books, cost = self._engine.books, 0
        usage: Usage | None = None
        for trail in trails:
            if trail.usage is not None:
                usage = trail.usage if usage is None else usage + trail.usage
            for attempt in trail.attempts if books is not None else ():
                if attempt.usage is not None and books is not None:
                    cost += sum(books.prices.cost_of(attempt, attempt.usage).parts)
        return usage, cost


class _Capped:
    """A gate of a spread that asks a cap."""

    def __init__(self, cap: Cap, used: Callable[[tuple[Trail, ...]], tuple[Usage | None, int]]) -> None:
        self._cap = cap
        self._used = used

    def admit(self, item: Item) -> bool:
        return self._cap.admit(item)

    @property
    def waits(self) -> bool:
        return self._cap.waits

    def tried(self, item: Item, call: Call, error: StanchionError | None) -> None:
        del error  # what a try used is known whether it was answered or not
        if any(map(_is_untold, call.trail.attempts)):
            self._cap.settle(item, UNTOLD)
            return
        usage, cost = self._used((call.trail,))
        self._cap.settle(item, Answer(0, usage=usage, cost_micro_usd=cost))


def _is_untold(attempt: Attempt) -> bool:
    """Say whether a try may be billed whose usage is not known: it was sent, and no error status came."""
    if attempt.usage is not None or attempt.sent == Sent.NOT_SENT.value or attempt.outcome == "completed":
        return False
    return attempt.status is None or attempt.status < 400


async def _halt(work: Work, spread: Spread[Item]) -> None:
    await work.until_stopped()
    spread.halt()


def _told(error: StanchionError) -> str:
    """Say what happened, with the provider's own words where it had any: they are the row's owner's to read."""
    said = error.said if isinstance(error, UpstreamError) else ""
    return f"{error}: {said}" if said else str(error)
