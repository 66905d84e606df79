"""Ask the next target of the route when one cannot answer.

Before: names the target.  At an error before the first chunk that another may answer: the next one.
If all fail, the *first* error is raised: what a fallback refuses never masks why it was needed.
Stands above retry: each target gets its own tries.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from stanchion.core.call import Call
from stanchion.core.errors import StanchionError, Unavailable, UpstreamError
from stanchion.core.reply import Reply
from stanchion.core.service import Service
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics

log = logging.getLogger(__name__)
Route = Callable[[Call], Sequence[str]]  # the targets of a call, in order; raises UnknownModel


class Fallback:
    """A chain of targets."""

    def __init__(self, route: Route, metrics: Metrics) -> None:
        self._route = route
        self._metrics = metrics

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Answer from the first target that can.  Raises UnknownModel, or the first target's error."""
        targets = self._route(call)
        if len(targets) == 1:
            return service(call.having(target=targets[0], last_target=True))
        return self._first_of(targets, call, service)

    async def _first_of(self, targets: Sequence[str], call: Call, service: Service) -> Reply:
        first_error: StanchionError | None = None
        last = len(targets) - 1
        for position, target in enumerate(targets):
            try:
                return await service(call.having(target=target, last_target=position == last))
            except (UpstreamError, Unavailable) as error:
                first_error = self._refused(call, target, error, first_error)
                if position == 0 and isinstance(error, UpstreamError) and not error.elsewhere:
                    break  # the call itself is wrong; a later target's "wrong" is about that target
            if position < last:
                self._metrics.fallbacks.of().inc()
        assert first_error is not None  # noqa: S101 - a route has at least one target
        raise first_error

    def _refused(
        self, call: Call, target: str, error: StanchionError, first: StanchionError | None
    ) -> StanchionError:
        log_event(log, logging.INFO, "fallback.refused", id=call.id, target=target, code=error.code)
        if first is None:
            return error
        first.add_note(f"then {target} failed too: {error}")
        return first
