"""Calls that ask for the same at the same time share one call to the provider, whole or streamed.

Before: the first begins a flight, a call in a task of the engine's; its twins join it, from its first chunk on.
Each reads at its own pace from what the flight holds.  Nobody is the leader once it flies: whoever leaves, the
flight goes on for the rest, and the last to leave ends it.  Before the first chunk a failure reaches each as an
error of its own.  It stands under the cache, so that an answer that is kept waits for nobody, and above all that
costs money.  Who may share is said by rules/cache_key.py: never two callers.

A flight holds `most_bytes`.  When it is longer, what all have read is let go of, and nobody joins any more; it waits
for one who is further behind, `slow_most_s` where others wait too, and then cuts that one off.  So a slow reader
stalls the others only beyond the bound, and for a bounded time.
Weakness: the provider is asked in the way of the first (its retry rules, its trace); those who ask in another way
by their own options fly by themselves.  Flights are of one process.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.reply import Reply
from stanchion.core.service import Service
from stanchion.observe.metrics import Metrics
from stanchion.policies.coalesce.flight import CoalesceOptions, Flight, Reader
from stanchion.rules.cache_control import USUAL, CacheAsked
from stanchion.rules.cache_key import HomeOf, Twins, cache_key, shares

Spawn = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]  # starts a task the engine owns
_Key = tuple[bytes, str]  # twins of one priority: a job's call must not hold a person's back


class Coalesce:
    """The flights of one configuration."""

    def __init__(
        self, options: CoalesceOptions, home: HomeOf, spawn: Spawn, clock: Clock, metrics: Metrics
    ) -> None:
        self._options = options
        self._home = home
        self._spawn = spawn
        self._clock = clock
        self._joined = metrics.cache_calls.of("coalesced")
        self._cut = metrics.coalesced_cut.of()
        self._flights: dict[_Key, Flight] = {}

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Answer from a flight.  Raises what the provider's call raises.  Cancel: the others fly on."""
        twins: Twins | None = call.options.get(Twins) if call.options else None
        if not self._options.on or (twins is None and not shares(call, unasked=True)):
            return service(call)
        if twins is None:
            wish: CacheAsked = call.options.get(CacheAsked, USUAL)
            twins = Twins(cache_key(call, self._home(call).targets), wish.look)
        return self._flown(call, (twins.key, call.priority), service) if twins.join else service(call)

    async def _flown(self, call: Call, key: _Key, service: Service) -> Reply:
        flight, ways = self._flights.get(key), _ways(call)
        first = flight is None
        if flight is None:
            flight = Flight(
                ways, self._options, self._clock, close=partial(self._close, key), cut=self._cut.inc
            )
            self._flights[key] = flight
            flight.task = self._spawn(flight.fly(call.having(deadline=math.inf), service))
        elif flight.ways != ways:
            return await service(call)
        else:
            self._joined.inc()
        reader = Reader(flight, call.deadline, first=first)
        try:
            while flight.head is None and flight.error is None and reader.error is None:
                await reader.more()
            return reader.reply(whole=not call.stream)
        except BaseException:
            await reader.aclose()
            raise

    def _close(self, key: _Key, flight: Flight) -> None:
        """Let nobody join any more; another flight may have the key by now."""
        if self._flights.get(key) is flight:
            del self._flights[key]


def _ways(call: Call) -> Mapping[type[Any], Any]:
    """Return how a call is to be made; twins that differ in it do not share a flight."""
    options = call.options
    return {kind: each for kind, each in options.items() if kind not in (Twins, CacheAsked)}
