"""What the tests of the rate limit share: a provider with a quota, and what a limiter has booked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from stanchion.core.call import Call
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.errors import NotYet, Refused
from stanchion.core.reply import Head, Reply
from stanchion.core.service import Service
from stanchion.core.trail import Attempt
from stanchion.observe.metrics import Metrics
from stanchion.policies.rate_limit import NO_QUOTA, Quota, RateLimit, RateLimitOptions, SharedLimits
from stanchion.rules.quota import Mirror
from stanchion.simulator import quota as simulated
from stanchion.stores.protocols import Change
from stanchion.stores.protocols import Limits as Store
from stanchion.testing import chat_answer, chat_call
from stanchion.wire.answers import read_whole
from stanchion.wire.retry_after import read_duration
from tests.unit.policies.reading import now, read

NAME = "a/m"


def limiter(
    quota: Quota = NO_QUOTA,
    *,
    learn: bool = True,
    store: Store | None = None,
    metrics: Metrics | None = None,
) -> RateLimit:
    """Make a limiter; what it tells the store is done at once."""
    shared = None
    if store is not None:
        at_once = partial(_tell, store)
        shared = SharedLimits(store, at_once, lambda slot, holder: at_once((), (slot,), holder))
    return RateLimit(NAME, RateLimitOptions(learn=learn), metrics or Metrics(), Clock(), quota, shared)


def _tell(store: Store, changes: Sequence[Change], freed: Sequence[str] = (), holder: str = "") -> None:
    step: Coroutine[Any, Any, None] = store.change(changes, freed, holder)  # pyright: ignore[reportAssignmentType]
    try:
        step.send(None)
    except StopIteration:
        return
    raise AssertionError("only a store in memory answers at once")


def open_calls(limit: RateLimit) -> set[int]:
    """How many calls each gauge believes to be open."""
    mirror: Mirror = getattr(limit, "_made")  # noqa: B009 - nobody else needs to know
    return {getattr(gauge, "_open") for gauge in mirror.gauges}  # noqa: B009


class Metered:
    """A provider with the simulator's quota: tells its headers, and refuses in its words."""

    def __init__(self, limits: simulated.Limits, *, mode: simulated.QuotaMode = "bucket") -> None:
        self.quota = simulated.Quota(limits, mode=mode)
        self.account = self.quota.account("k", "m")
        self.let_in: list[float] = []
        self.refused = 0

    async def __call__(self, call: Call, /) -> Reply:
        refusal = self.quota.admit(self.account, "m", 10, now())
        headers = dict(self.account.headers(now()))
        if refusal is not None:
            self.refused += 1
            raise refused(refusal.message, refusal.wait_s, call, headers)
        self.let_in.append(now())
        await asyncio.sleep(0.5)
        chunk = Chunk(chat_answer(), read_whole(call.operation))
        return Reply.whole(Head(endpoint=NAME, headers=headers), chunk, chunk.events[0].usage)


def refused(
    said: str = "",
    after_s: float | None = None,
    call: Call | None = None,
    headers: dict[str, str] | None = None,
) -> Refused:
    """Make a 429; with `call`, its trail knows of it as it does below a limiter."""
    if call is not None:
        call.trail.attempts.append(Attempt(NAME, "m", now(), status=429))
    found = read_duration("0s") if after_s is None else after_s
    return Refused(
        "busy",
        status=429,
        upstream_status=429,
        said=said,
        retry_after_s=found,
        headers=headers or {},
        endpoint=NAME,
    )


async def keep_asking(limit: RateLimit, service: Service, until: float) -> None:
    """One caller: one call after the other, waiting for room as a line does."""
    while now() < until:
        call = chat_call()
        wait_s = limit.ready_in(now(), call)
        if wait_s > 0:
            await asyncio.sleep(wait_s + 1e-6)
            continue
        try:
            await read(await limit(call, service))
        except NotYet as error:
            await asyncio.sleep(max(error.wait_s, 0.001))
        except Refused:
            await asyncio.sleep(0.001)
