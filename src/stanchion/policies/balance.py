"""Give the call to the endpoint of its target that is ready and has the least to do.

Before: chooses; waits a little if all rest; raises Unavailable if none will be ready in time.
Holds nothing: an endpoint counts its own open replies.  It is the service at the bottom of the call's
stack, so each try chooses anew.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import Unavailable
from stanchion.core.reply import Reply
from stanchion.core.service import Endpoint, Outlook
from stanchion.rules.endpoint_choice import Candidate, choose, soonest_s

Endpoints = Callable[[str], Sequence[tuple[Endpoint, float]]]  # a target's endpoints with their weights


class BalanceOptions(msgspec.Struct, frozen=True):
    """How long to wait for an endpoint that rests."""

    wait_most_s: float = 5.0  # seconds; if none is ready by then, the call is refused at once


class Balance:
    """Least loaded first; one that failed this call before comes last."""

    def __init__(self, endpoints: Endpoints, options: BalanceOptions, clock: Clock | None = None) -> None:
        self._endpoints = endpoints
        self._options = options
        self._turn = itertools.count()
        self._clock = clock or Clock()

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Answer from one endpoint.  Raises Unavailable if none is or will be ready."""
        endpoints = _allowed(call, self._endpoints(call.target))
        if len(endpoints) == 1 and endpoints[0][0].ready_in(self._clock.now()) == 0:
            return endpoints[0][0](call)
        return self._best_of(endpoints, call)

    def outlook(self, call: Call) -> Outlook:
        """Say what another try of this call could hope for."""
        try:
            left = _allowed(call, self._endpoints(call.target))
        except Unavailable:
            return Outlook(math.inf, anybody=False)
        now = self._clock.now()
        others = [endpoint.ready_in(now) for endpoint, _ in left if endpoint.name not in call.avoid]
        return Outlook(min(others, default=math.inf), anybody=True)

    async def _best_of(self, endpoints: Sequence[tuple[Endpoint, float]], call: Call) -> Reply:
        wait_most_s = call.option(BalanceOptions, self._options).wait_most_s
        now = self._clock.now
        give_up_at = min(now() + wait_most_s, call.deadline)
        while True:
            candidates = [
                Candidate(endpoint.ready_in(now()), endpoint.in_flight, weight, endpoint.name in call.avoid)
                for endpoint, weight in endpoints
            ]
            chosen = choose(candidates, turn=next(self._turn))
            if chosen is not None:
                return await endpoints[chosen][0](call)
            wait_s = soonest_s(candidates)
            if now() + wait_s > give_up_at:
                why = ", ".join(
                    f"{endpoint.name}: {endpoint.last_failure or 'busy'}" for endpoint, _ in endpoints
                )
                raise Unavailable(
                    f"every endpoint that could answer is resting ({why})",
                    retry_after_s=1.0 if math.isinf(wait_s) else max(wait_s, 0.05),
                )
            await asyncio.sleep(wait_s)


def _allowed(call: Call, endpoints: Sequence[tuple[Endpoint, float]]) -> Sequence[tuple[Endpoint, float]]:
    """Leave out those that must not be asked again.  Raises Unavailable if nobody is left."""
    if not call.never and not call.silent:
        return endpoints
    left = [each for each in endpoints if each[0].name not in call.never]
    heard = [each for each in left if each[0].name not in call.silent]
    if heard or not call.last_target:
        left = heard  # another exists, here or further down the chain
    if not left:
        raise Unavailable("no other endpoint is left for this call")
    return left
