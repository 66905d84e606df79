"""The line before one set of endpoints: the head goes to whichever is ready first.

It has no task.  It looks when something happens: a call comes or leaves, an endpoint wakes it, or the alarm
set to when the first endpoint says it is ready rings.  An endpoint is handed to one call at a time: the next
is handed on after that call's task went on and the endpoint has counted it, so two calls never take one place.

The head is not overtaken, however large it is: a small call that passed a large one would take the quota
that the large one waits for, and the next would too.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from stanchion.core.call import Call
from stanchion.core.errors import DeadlineExceeded, NotYet, StanchionError, Unavailable
from stanchion.core.service import Endpoint
from stanchion.policies.balance.giving_up import GivingUp
from stanchion.policies.balance.waiting_room import WaitingRoom
from stanchion.rules.endpoint_choice import Candidate, choose, soonest_s
from stanchion.rules.fair_share import Entry
from stanchion.rules.fairness import FairQueue
from stanchion.rules.pace import Pace

_RANG_LEAST_S = 0.001  # seconds: an endpoint that is not ready when it said gets so much more
_COST_BYTES = 4096  # a body of that size costs as much again as a call: about a thousand tokens


class Waiter(Entry):
    """One call that waits for its turn."""

    __slots__ = ("alarm", "call", "counted", "future", "give_up_at", "line", "rest_most_s", "size")

    def __init__(self, call: Call, line: Line, rest_most_s: float, now: float) -> None:
        self.size = len(call.body.raw)
        super().__init__(call.caller, 1.0 + self.size / _COST_BYTES, now, batch=call.priority == "batch")
        self.call = call
        self.line = line
        self.rest_most_s = rest_most_s  # it is not worth waiting longer where all endpoints rest
        self.give_up_at = math.inf
        self.alarm = 0
        self.counted = False  # it counts as open
        self.future: asyncio.Future[Endpoint]

    def __call__(self) -> None:
        """Give up: its time is over."""
        self.line.give_up(self)


class Line:
    """Those who wait for one of these endpoints."""

    def __init__(self, endpoints: Sequence[tuple[Endpoint, float]], room: WaitingRoom[Line]) -> None:
        self.endpoints = endpoints
        self._room = room
        options = room.options
        self._queue = FairQueue[Waiter](
            ageing_s=options.ageing_s, batch_share=options.batch_share, weights=options.weights
        )
        self._pace = Pace(room.clock.now())
        self._giving_up = GivingUp(room.clock)
        self._handing = 0  # calls that were given an endpoint and did not go on yet
        self._alarm = 0
        self._rings_at = math.inf
        self._turn = 0

    def join(self, call: Call, rest_most_s: float, *, front: bool = False) -> Waiter:
        """Let a call wait.  Raises Unavailable if its turn would come too late."""
        room, now = self._room, self._room.clock.now()
        waiter = Waiter(call, self, rest_most_s, now)
        full = room.full(waiter.caller, waiter.size)
        if full:
            raise room.refusal(full, self._ahead_s(waiter))
        self._bound(waiter, now)
        self._queue.push(waiter, front=front or call.attempt > 1)
        self._came(waiter)
        if self._queue.head(now) is waiter:
            self.serve()
        return waiter

    def _ahead_s(self, waiter: Waiter) -> float:
        """Estimate how long the work before a call takes."""
        return self._pace.wait_s(self._queue.ahead(waiter.caller, batch=waiter.batch))

    def _bound(self, waiter: Waiter, now: float) -> None:
        """Set when a call gives up.  Raises Unavailable if that is before its turn."""
        call, room = waiter.call, self._room
        candidates = self._candidates(call, now)
        soonest = soonest_s(candidates)
        if soonest > waiter.rest_most_s and self._all_rest():
            raise self.resting(soonest)
        most_s = waiter.rest_most_s  # where another target follows, it may be free
        if call.last_target:
            options = room.options
            most_s = options.interactive_wait_most_s
            if call.priority == "batch":
                most_s = options.batch_wait_most_s or math.inf
        waiter.give_up_at = min(now + most_s, call.deadline)
        begins_at = now if math.isinf(soonest) else now + soonest
        if begins_at + self._pace.wait_s(self._queue.cost) <= waiter.give_up_at:
            return  # in time though all that waits went first: nearly always, and it costs no look at callers
        wait_s = begins_at - now + self._ahead_s(waiter)
        if now + wait_s > waiter.give_up_at:
            if self._all_rest():
                raise self.resting(wait_s)
            reason = "deadline_too_near" if now + wait_s > call.deadline else "line_too_long"
            raise room.refusal(reason, wait_s, f" (estimate: {wait_s:.3g} s)")

    def put_back(self, waiter: Waiter, endpoint: Endpoint, error: NotYet) -> None:
        """Let a call wait again that found no room after all; nobody goes there for a while."""
        if waiter.line is self:
            self._pace.undid(waiter.cost)
            self._queue.put_back(waiter)
        else:  # its own line was empty meanwhile and is gone
            waiter.line = self
            self._queue.push(waiter, front=True)
        self._came(waiter)
        self._room.rest(endpoint, error, waiter.call)  # and look

    def left(self, waiter: Waiter) -> None:
        """Take out a call whose task was cancelled; if it had its turn already, pass the turn on."""
        future = waiter.future
        if waiter.waiting:
            self._take_out(waiter)
            self.serve()
        elif not future.cancelled() and future.exception() is None:
            if waiter.counted:
                self._room.closed(waiter.call.caller)
            self._room.handed.discard(future.result())
            self._went_on(future.result())

    def goes_on(self, endpoint: Endpoint) -> None:
        """Note that a call's task goes on and asks the endpoint now, before anything else happens."""
        self._room.handed.discard(endpoint)
        self._room.clock.loop.call_soon(self._went_on, endpoint)

    def _went_on(self, endpoint: Endpoint) -> None:
        self._handing -= 1
        self._room.look(endpoint)
        self._forget_if_empty()

    def give_up(self, waiter: Waiter) -> None:
        """End a wait whose time is over, unless its turn comes just now."""
        self.serve()
        if not waiter.waiting or waiter.future.done():
            return
        if self._room.clock.now() >= waiter.call.deadline:
            error: StanchionError = DeadlineExceeded("the call's deadline passed before its turn came")
        else:
            now = self._room.clock.now()
            soonest = soonest_s(self._candidates(waiter.call, now))
            wait_s = max(self._ahead_s(waiter), 0.0 if math.isinf(soonest) else soonest)
            error = self._room.refusal("line_wait_over", wait_s)
        self._fail(waiter, error)
        self.serve()

    def unpark(self, caller: str) -> None:
        """Serve a caller again that had as much open as it may."""
        self._queue.unpark(caller)
        self.serve()

    def serve(self) -> None:
        """Give every endpoint that is ready to whose turn it is."""
        room, queue = self._room, self._queue
        now = room.clock.now()
        while (waiter := queue.head(now)) is not None:
            caller = waiter.caller
            if waiter.future.done():  # cancelled, and its task did not go on yet
                self._take_out(waiter)
                continue
            if room.at_most(caller):
                queue.park(caller)
                room.parked.setdefault(caller, set()).add(self)
                continue
            candidates = self._candidates(waiter.call, now)
            self._turn += 1
            chosen = choose(candidates, turn=self._turn)
            if chosen is not None:
                self._hand(self.endpoints[chosen][0], now)
                continue
            soonest = soonest_s(candidates)
            if soonest > waiter.rest_most_s and self._all_rest():
                self._fail(waiter, self.resting(soonest))
                continue
            self._set_alarm(now, soonest)
            return
        self._set_alarm(now, math.inf)
        self._forget_if_empty()

    def _hand(self, endpoint: Endpoint, now: float) -> None:
        room = self._room
        waiter = self._queue.pop(now)
        assert waiter is not None  # noqa: S101 - it is the head that was looked at
        self._handing += 1
        room.handed.add(endpoint)
        wanting = room.wanting[endpoint]
        del wanting[self]  # the next turn there is another line's
        wanting[self] = None
        waiter.counted = room.counts
        if waiter.counted:
            room.opened(waiter.call.caller)
        self._gone(waiter)
        self._pace.did(now, waiter.cost)
        room.metrics.line_seconds.of(waiter.call.priority).observe(now - waiter.at)
        waiter.future.set_result(endpoint)

    def _candidates(self, call: Call, now: float) -> list[Candidate]:
        room, avoid = self._room, call.avoid
        return [
            Candidate(
                max(endpoint.ready_in(now, call), room.ready_in(endpoint, now)),
                endpoint.in_flight,
                weight,
                endpoint.name in avoid,
                endpoint.fill(),
            )
            for endpoint, weight in self.endpoints
        ]

    def _all_rest(self) -> bool:
        """Say whether none is only busy: each rests after a failure."""
        handed = self._room.handed
        return all(endpoint.last_failure and endpoint not in handed for endpoint, _ in self.endpoints)

    def resting(self, wait_s: float) -> Unavailable:
        """Make the error of a call that nobody could answer."""
        why = ", ".join(
            f"{endpoint.name}: {endpoint.last_failure or 'busy'}" for endpoint, _ in self.endpoints
        )
        return Unavailable(
            f"every endpoint that could answer is resting ({why})",
            retry_after_s=1.0 if math.isinf(wait_s) else max(wait_s, 0.05),
        )

    def _came(self, waiter: Waiter) -> None:
        room, call = self._room, waiter.call
        waiter.future = room.clock.loop.create_future()
        room.crowd.came(call.caller, waiter.size)
        room.metrics.line_waiting.of(call.priority).inc()
        if waiter.give_up_at < math.inf and not self._giving_up.add(waiter):
            waiter.alarm = room.clock.set(waiter.give_up_at, waiter)
        self._stand()

    def _gone(self, waiter: Waiter) -> None:
        room, call = self._room, waiter.call
        room.crowd.went(call.caller, waiter.size)
        room.metrics.line_waiting.of(call.priority).dec()
        if waiter.alarm:
            room.clock.take_back(waiter.alarm)
        self._giving_up.tidy(len(self._queue))

    def _take_out(self, waiter: Waiter) -> None:
        self._queue.remove(waiter)
        self._gone(waiter)

    def _fail(self, waiter: Waiter, error: StanchionError) -> None:
        self._take_out(waiter)
        waiter.future.set_exception(error)

    def _set_alarm(self, now: float, wait_s: float) -> None:
        rings_at = now + wait_s
        if rings_at == self._rings_at:
            return
        self._room.clock.take_back(self._alarm)
        self._rings_at = rings_at
        if wait_s < math.inf:
            self._alarm = self._room.clock.set(rings_at, self._ring)

    def _ring(self) -> None:
        self._rings_at = math.inf
        self.serve()
        if self._rings_at - self._room.clock.now() < _RANG_LEAST_S:
            self._set_alarm(self._room.clock.now(), _RANG_LEAST_S)

    def _stand(self) -> None:
        """Be known, so that who comes later joins, and endpoints wake it."""
        room = self._room
        key = tuple(endpoint for endpoint, _ in self.endpoints)
        if room.lines.setdefault(key, self) is self:
            for endpoint in key:
                room.wants(self, endpoint)

    def _forget_if_empty(self) -> None:
        if self._queue or self._handing:
            return
        self._giving_up.close()
        room = self._room
        key = tuple(endpoint for endpoint, _ in self.endpoints)
        if room.lines.get(key) is self:
            del room.lines[key]
        for endpoint in key:
            wanting = room.wanting.get(endpoint)
            if wanting is not None and wanting.pop(self, 0) is None and not wanting:
                del room.wanting[endpoint]


Room = WaitingRoom[Line]
