"""A Call goes down through Filters to a Service; a Reply comes back up.

Source of the idea: Eriksen, "Your Server as a Function" (PLOS 2013); finagle `Filter`; tower `Layer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from stanchion.core.call import Call
from stanchion.core.reply import Reply


class Service(Protocol):
    """Answers a call.  An `async def` with this shape is one."""

    def __call__(self, call: Call, /) -> Awaitable[Reply]: ...


class Filter(Protocol):
    """Stands over a service: may change the call, the reply, or answer itself.

    One that only looks at the call is a plain function that returns the service's awaitable: a coroutine
    less per call is 1-2 us less, and less for the garbage collector to follow.
    """

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]: ...


class Endpoint(Protocol):
    """A service that can say when it could start: base URL x model x key."""

    @property
    def name(self) -> str:
        """Say which endpoint this is, in logs and metrics: "provider/model#fingerprint"."""
        ...

    @property
    def key(self) -> str:
        """Say whose quota it uses: those of the same key share it.  Never the key itself."""
        ...

    @property
    def in_flight(self) -> int:
        """Count the replies that are open here."""
        ...

    @property
    def last_failure(self) -> str:
        """Say by its code why it last failed; "" if it did not."""
        ...

    def ready_in(self, now: float, call: Call | None = None) -> float:
        """Say in how many seconds it (this call) could start; `inf` is unknown, and a wake will come."""
        ...

    def fill(self) -> float:
        """Say how much of its quota is used now, from 0 to 1; 0 if that is not known."""
        ...

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` from now on when it may be ready earlier than `ready_in` said: a place is free, a key back."""
        ...

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Answer.  May raise NotYet: nothing was sent, the call goes back to the head of its line."""
        ...


class Outlook(msgspec.Struct, frozen=True, gc=False):
    """What another try of a call could hope for."""

    another_in_s: float  # until an endpoint that did not fail it yet is ready; inf if there is none
    anybody: bool  # an endpoint is left that may be asked at all


def stack(*filters: Filter, service: Service) -> Service:
    """Top to bottom as written: the first filter sees the call first and the reply last."""
    for each in reversed(filters):
        service = _over(each, service)
    return service


def _over(each: Filter, service: Service) -> Service:
    ask = each.__call__  # bound once: a call of the object looks it up each time
    return lambda call: ask(call, service)
