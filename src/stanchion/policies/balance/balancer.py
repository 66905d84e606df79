"""Give the call to the endpoint of its target that is ready and has the least to do; who must wait, waits here.

Before: chooses; where nobody is ready, or others wait already, the call waits in a line.  Raises Unavailable
at once if its turn would come too late or nobody may be asked.  Holds a place in the line, and a count of
what is open where that is bounded, until the reply ends.  It is the service at the bottom of the call's
stack, so each try chooses anew; and the line stands here because here a call meets all its endpoints: several
keys fill like water, and the head goes to whichever is ready first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import NotYet, Unavailable
from stanchion.core.reply import End, Reply
from stanchion.core.service import Endpoint, Outlook
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance.line import Line, Room
from stanchion.rules.endpoint_choice import Candidate, choose
from stanchion.stores.dues import paid

Endpoints = Callable[[str], Sequence[tuple[Endpoint, float]]]  # a target's endpoints with their weights


class BalanceOptions(msgspec.Struct, frozen=True):
    """How long to wait for an endpoint that rests."""

    wait_most_s: float = (
        5.0  # seconds; if all rest for longer, or another target follows, a call waits no longer
    )


class Balance:
    """Least filled first, then least loaded; one that failed this call before comes last."""

    def __init__(
        self,
        endpoints: Endpoints,
        options: BalanceOptions,
        clock: Clock | None = None,
        *,
        room: Room | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._options = options
        self._turn = itertools.count()
        self._clock = clock or Clock()
        self._room = room or Room(Metrics(), self._clock)

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Answer from one endpoint.  Raises Unavailable if none is or will be ready in time."""
        endpoints = _allowed(call, self._endpoints(call.target))
        room = self._room
        if not room.wanting and not room.counts:  # nearly always: nobody waits and nothing is counted
            now = self._clock.now()
            if len(endpoints) == 1:
                if endpoints[0][0].ready_in(now, call) == 0:
                    return self._ask(call, endpoints, endpoints[0][0], counted=False)
            elif (chosen := self._choice(call, endpoints, now)) is not None:
                return self._ask(call, endpoints, chosen, counted=False)
            return self._wait(call, endpoints)
        return self._crowded(call, endpoints)

    def outlook(self, call: Call) -> Outlook:
        """Say what another try of this call could hope for."""
        try:
            left = _allowed(call, self._endpoints(call.target))
        except Unavailable:
            return Outlook(math.inf, anybody=False)
        now = self._clock.now()
        others = [endpoint.ready_in(now, call) for endpoint, _ in left if endpoint.name not in call.avoid]
        return Outlook(min(others, default=math.inf), anybody=True)

    def beside(self, call: Call, name: str, fill_most: float) -> Endpoint | None:
        """Return an endpoint where a second attempt may start now, beside one at the endpoint `name`; None if none may.

        It is of another key, is far from its limits, and nobody waits for it: who makes a second attempt takes from
        nobody who waits for the first.
        """
        room, now = self._room, self._clock.now()
        try:
            endpoints = _allowed(call, self._endpoints(call.target))
        except Unavailable:
            return None
        key = next((endpoint.key for endpoint, _ in endpoints if endpoint.name == name), None)
        if key is None or room.at_most(call.caller):
            return None  # it is of older settings: nobody knows what is another key's
        free = [
            (endpoint, weight)
            for endpoint, weight in endpoints
            if endpoint.key != key
            and endpoint.name not in call.avoid
            and endpoint not in room.wanting
            and room.ready_in(endpoint, now) == 0
            and endpoint.fill() < fill_most
        ]
        return self._choice(call, free, now)

    def _choice(self, call: Call, endpoints: Sequence[tuple[Endpoint, float]], now: float) -> Endpoint | None:
        candidates = [
            Candidate(
                endpoint.ready_in(now, call),
                endpoint.in_flight,
                weight,
                endpoint.name in call.avoid,
                endpoint.fill(),
            )
            for endpoint, weight in endpoints
        ]
        chosen = choose(candidates, turn=next(self._turn))
        return None if chosen is None else endpoints[chosen][0]

    def _crowded(self, call: Call, endpoints: Sequence[tuple[Endpoint, float]]) -> Awaitable[Reply]:
        """Answer where somebody waits somewhere, or open calls are counted."""
        room = self._room
        counted = room.counts
        wanted = any(endpoint in room.wanting for endpoint, _ in endpoints)
        if wanted or room.at_most(call.caller):
            return self._wait(call, endpoints)
        if 0 < room.options.open_most <= room.open + room.crowd.waiting:
            raise room.refusal("too_many_open", 1.0)
        chosen = self._choice(call, endpoints, self._clock.now())
        if chosen is None:
            return self._wait(call, endpoints)
        if counted:
            room.opened(call.caller)
        return self._ask(call, endpoints, chosen, counted=counted)

    async def _ask(
        self, call: Call, endpoints: Sequence[tuple[Endpoint, float]], endpoint: Endpoint, *, counted: bool
    ) -> Reply:
        """Ask an endpoint that nobody waits for.  Cancel: what it counts is given back."""
        try:
            if not counted:
                return await endpoint(call)
            return await self._count(call, endpoint)
        except NotYet as error:
            self._room.rest(endpoint, error, call)
        return await self._wait(call, endpoints, front=True)

    async def _count(self, call: Call, endpoint: Endpoint) -> Reply:
        """Ask; the call counts as open until its reply ends."""
        room, caller = self._room, call.caller

        def ended(end: End, error: BaseException | None) -> None:
            del end, error
            room.closed(caller)

        try:
            reply = await endpoint(call)
        except BaseException:
            room.closed(caller)
            raise
        return reply.on_end(ended)

    async def _wait(
        self, call: Call, endpoints: Sequence[tuple[Endpoint, float]], *, front: bool = False
    ) -> Reply:
        """Wait for the call's turn, then ask.  Cancel: its place, or its turn, is the next one's."""
        if not endpoints:
            raise Unavailable("there is no endpoint for this call")
        call = await paid(call)  # who may not call at all is told so before it stands in line
        rest_most_s = call.option(BalanceOptions, self._options).wait_most_s
        waiter = self._line(endpoints).join(call, rest_most_s, front=front)
        while True:
            try:
                endpoint = await waiter.future
            except BaseException:
                waiter.line.left(waiter)
                raise
            waiter.line.goes_on(endpoint)
            try:
                return await (self._count(call, endpoint) if waiter.counted else endpoint(call))
            except NotYet as error:
                self._line(endpoints).put_back(waiter, endpoint, error)

    def _line(self, endpoints: Sequence[tuple[Endpoint, float]]) -> Line:
        """Return the line before these endpoints, or a new one that nobody knows yet."""
        found = self._room.lines.get(tuple(endpoint for endpoint, _ in endpoints))
        return found or Line(endpoints, self._room)


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
