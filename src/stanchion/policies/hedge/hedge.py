"""Make a second attempt beside one that is late, on another key; who begins to answer first is the answer.

Before: counts the call into the share of extra calls.  While an attempt runs: when its first chunk is later than what
was learned of its kind, asks another endpoint too, if one is ready at once.  At the first chunk of either: cancels the
other, whose socket is closed; what it used stays in the trail.  After that it has no part in the answer.
Stands above balance, since the second attempt takes another endpoint, and below retry, for which both are one try.

The first attempt is disturbed by nothing but an answer: a second that is refused, or fails, is as if it had not been.
Where the first fails while a second runs, that one goes on as the answer.
Weakness: an answer that is given whole begins at its end, so with `whole` answers of any length are compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from stanchion.core.call import Call, Operation
from stanchion.core.clock import Clock
from stanchion.core.reply import Reply
from stanchion.core.service import Endpoint, Service
from stanchion.observe.metrics import Metrics
from stanchion.policies.hedge.options import HedgeOptions
from stanchion.policies.hedge.race import Learned, Race
from stanchion.rules.hedge_budget import HedgeBudget

Another = Callable[[Call, str, float], Endpoint | None]  # beside which endpoint, how full it may be
Hold = Callable[[Call], Awaitable[bool]]  # holds the money for another attempt; False if there is too little
Spawn = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]  # starts a task the engine owns


class Hedge:
    """The hedges of one configuration."""

    def __init__(
        self,
        options: HedgeOptions,
        another: Another,
        spawn: Spawn,
        clock: Clock,
        metrics: Metrics,
        *,
        learned: Learned | None = None,
        hold: Hold | None = None,
    ) -> None:
        """`another` finds an endpoint for a second attempt; `learned` outlives a reload; `hold` is the budgets'."""
        self._options = options
        self.another = another
        self.spawn = spawn
        self.clock = clock
        self.metrics = metrics
        self.learned = Learned() if learned is None else learned
        self.hold = hold
        self.budget = HedgeBudget()

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Answer from who begins first.  Raises what the first attempt raises.  Cancel: both are."""
        options = call.option(HedgeOptions, self._options)
        if (
            not options.on
            or call.priority == "batch"
            or not (call.stream or options.whole)
            or call.operation is Operation.MODELS
        ):
            return service(call)
        if not call.trail.attempts:  # a retry is no other call
            self.budget.call(options.extra_most)
        return Race(self, call, options).run(service)

    def refused(self, reason: str) -> None:
        """Count a late attempt that got none beside it."""
        self.metrics.hedges_refused.of(reason).inc()
