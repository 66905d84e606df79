"""What all lines of an engine share: who waits, who is served, and which endpoint is being handed over."""

from __future__ import annotations

import math
from functools import partial
from typing import Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import NotYet, Unavailable
from stanchion.core.service import Endpoint
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance.line_options import LineOptions
from stanchion.rules.crowd import Crowd

_REST_LEAST_S = 0.001
_UNKNOWN_S = 1.0
_AGAIN_LEAST_S = 1.0  # nobody who was refused need ask again sooner
_CALLERS_FAULT = frozenset({"caller_line_full"})


class Woken(Protocol):
    """A line, as far as the room knows it."""

    def serve(self) -> None:
        """Look whose turn it is."""
        ...

    def unpark(self, caller: str) -> None:
        """Serve a caller again."""
        ...


L = TypeVar("L", bound=Woken)


class WaitingRoom(Generic[L]):
    """The counts of one engine.  It outlives a reload: what is open is open under the new settings too."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self.metrics = metrics
        self.clock = clock
        self.options = LineOptions()
        self.crowd = Crowd()
        self.lines: dict[tuple[Endpoint, ...], L] = {}
        self.wanting: dict[Endpoint, dict[L, None]] = {}  # whose turn is nearest comes first
        self.handed: set[Endpoint] = set()  # given to a call whose task did not go on yet
        # it had no room after all: until when, and whether no wake ends it.  Targets come and go: held weakly
        self.rests: WeakKeyDictionary[Endpoint, tuple[float, bool]] = WeakKeyDictionary()
        self._watched: WeakSet[Endpoint] = WeakSet()
        self.open = 0  # calls that are answered; counted only where a bound asks for it
        self.open_of: dict[str, int] = {}
        self.parked: dict[str, set[L]] = {}  # callers that have as much open as they may

    def configure(self, options: LineOptions) -> None:
        """Go by new settings from now on."""
        self.options = options
        for caller in tuple(self.parked):
            self._unpark(caller)

    @property
    def counts(self) -> bool:
        """Say whether open calls are bounded."""
        return self.options.open_most > 0 or self.options.caller_open_most > 0

    def wants(self, line: L, endpoint: Endpoint) -> None:
        """Let an endpoint wake a line."""
        self.wanting.setdefault(endpoint, {}).setdefault(line, None)
        if endpoint not in self._watched:
            self._watched.add(endpoint)
            endpoint.watch(partial(self.woken, endpoint))

    def rest(self, endpoint: Endpoint, error: NotYet, call: Call) -> None:
        """Ask an endpoint nothing for a while: it had no room for this call after all.

        All who wait there look again.  A wake does not end what a store told that others share: the endpoint
        would be asked in vain.  It does end a guess, and what the endpoint says itself.
        """
        now, wait_s = self.clock.now(), error.wait_s
        firm = error.firm and endpoint.ready_in(now, call) + _REST_LEAST_S < wait_s < math.inf
        if math.isinf(wait_s):
            wait_s = _UNKNOWN_S  # a wake is to come; if it is lost, this is
        self.rests[endpoint] = now + max(wait_s, _REST_LEAST_S), firm
        self.look(endpoint)

    def ready_in(self, endpoint: Endpoint, now: float) -> float:
        """Say how long an endpoint is not to be asked, whatever it says itself."""
        if endpoint in self.handed:
            return math.inf
        rest = self.rests.get(endpoint)
        if rest is None:
            return 0.0
        if rest[0] <= now:
            del self.rests[endpoint]
            return 0.0
        return rest[0] - now

    def woken(self, endpoint: Endpoint) -> None:
        """Look again who may start there: it may have room earlier than it said."""
        rest = self.rests.get(endpoint)
        if rest is not None and not rest[1]:
            del self.rests[endpoint]
        self.look(endpoint)

    def look(self, endpoint: Endpoint) -> None:
        """Let all who wait for an endpoint look whose turn it is."""
        wanting = self.wanting.get(endpoint)
        if wanting is not None:
            for line in tuple(wanting):
                line.serve()

    def at_most(self, caller: str) -> bool:
        """Say whether this caller has as much open as it may."""
        most = self.options.caller_open_most
        return most > 0 and self.open_of.get(caller, 0) >= most

    def opened(self, caller: str) -> None:
        """Count a call that is answered now."""
        self.open += 1
        self.open_of[caller] = self.open_of.get(caller, 0) + 1

    def closed(self, caller: str) -> None:
        """Count its end, and serve its caller's next."""
        self.open -= 1
        left = self.open_of[caller] - 1
        if left:
            self.open_of[caller] = left
        else:
            del self.open_of[caller]
        self._unpark(caller)

    def _unpark(self, caller: str) -> None:
        for line in self.parked.pop(caller, ()):
            line.unpark(caller)

    def full(self, caller: str, size: int) -> str:
        """Say by a code why one more call may not wait; "" if it may."""
        options, crowd = self.options, self.crowd
        if 0 < options.open_most <= self.open + crowd.waiting:
            return "too_many_open"
        return crowd.refusal(
            caller,
            size,
            most=options.waiting_most,
            caller_most=options.caller_waiting_most,
            bytes_most=options.bytes_most,
        )

    def refusal(self, reason: str, retry_after_s: float, why: str = "") -> Unavailable:
        """Make the error of a call that may not wait, or no longer, and count it."""
        self.metrics.line_refused.of(reason).inc()
        error = Unavailable(
            _SAID[reason] + why, code=reason, retry_after_s=max(_AGAIN_LEAST_S, retry_after_s)
        )
        if reason in _CALLERS_FAULT:
            error.status, error.type = 429, "rate_limit_error"
        return error


_SAID = {
    "caller_line_full": "too many calls of this caller wait already",
    "line_full": "too many calls wait already",
    "line_bytes_full": "the calls that wait hold too many bytes already",
    "too_many_open": "too many calls are open already",
    "deadline_too_near": "the call's turn would come after its deadline, so it was not begun",
    "line_too_long": "the call would wait too long for its turn",
    "line_wait_over": "the call waited as long as it may and its turn did not come",
}
