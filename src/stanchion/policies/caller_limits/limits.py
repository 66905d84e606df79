"""Keep callers to their limits: requests, tokens and open calls, of the key, caller, team, end user and everyone.

Before: takes of all levels in one step of the store, or of none; refused with 429, which limit it was and when there is
room.  Tokens are reserved as the provider would charge them, with the answer's bound where the call has one.  At the
end: books what the call really used, and frees its place among the open ones.  Fails before anything was sent: all is
given back.  Cancel: what the call used until then counts.  A process that dies leaves its places to expire.

Stands where money is reserved: below idempotency, a replay counts nothing; above fallback and retry, a call is one
request however often it is tried.  Which key and model are asked is decided below, after the line, and may change with
each try; so where limits are kept in a store, what is wanted is only written down here (`stores/dues.py`) and asked for
below, in one step with the money and the quota of the first endpoint that is tried, or before the call waits in line.

Counts nobody by itself: what counts for a call stands in its option `Standing`, which the gateway sets.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from stanchion.core.call import Call, Operation
from stanchion.core.caller import Level, Standing
from stanchion.core.clock import Clock
from stanchion.core.errors import LimitReached
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service
from stanchion.core.trail import Trail
from stanchion.observe.metrics import Metrics
from stanchion.policies.caller_limits.plan import Bound, Plan, planned
from stanchion.rules.caller_limits import say_limit
from stanchion.rules.charge import charge_of
from stanchion.rules.meter import NEAR_S, Meter
from stanchion.rules.size import answer_size_of
from stanchion.stores.admission import Admissions, Part
from stanchion.stores.dues import Dues
from stanchion.stores.memory import MemoryLimits
from stanchion.stores.protocols import Change, Limits, Slot, Take, Taken

_OPEN_MOST_S = 3600.0  # a process that died holds its places no longer, nor than its calls could live
_OPEN_MORE_S = 5.0  # beyond the call's deadline
_OPEN_AGAIN_S = 1.0  # when another call ends is not known: worth asking again so soon
_PLANS_MOST = 10_000  # kept; then they are made anew


class Store(Protocol):
    """Where the limits are kept: in this process, or together with others."""

    @property
    def limits(self) -> Limits: ...
    @property
    def later(self) -> Callable[[Sequence[Change]], None]: ...
    @property
    def free(self) -> Callable[[str, str], None]: ...
    @property
    def admissions(self) -> Admissions | None: ...


class OwnLimits(msgspec.Struct, frozen=True):
    """Limits of this process alone."""

    limits: Limits
    later: Callable[[Sequence[Change]], None]
    free: Callable[[str, str], None]
    admissions: Admissions | None = None  # nothing is waited for: nothing is put off


def own_limits(clock: Clock) -> OwnLimits:
    """Make limits of this process alone."""
    memory = MemoryLimits(clock.reading)
    return OwnLimits(
        memory,
        lambda changes: memory.change_now(changes, (), ""),
        lambda slot, holder: memory.change_now((), (slot,), holder),
    )


class _Taken(msgspec.Struct, frozen=True, gc=False):
    """What was taken for a call."""

    trail: Trail
    holder: str
    metered: tuple[Bound, ...]
    takes: Sequence[Take]  # one for each of `metered`
    slots: list[Slot]
    dues: Dues | None  # None: it was taken at once


class CallerLimits:
    """The limits of all callers.  Outlives a reload."""

    def __init__(self, store: Store | None, clock: Clock, metrics: Metrics) -> None:
        self._store: Store = store or own_limits(clock)
        limits = self._store.limits
        self._own = limits if type(limits) is MemoryLimits else None  # nothing is waited for
        self._clock = clock
        self._refused = metrics.caller_limited
        self._plans: dict[int, Plan] = {}  # by the standing's identity: it lives as long as a book's version

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass the call on.  Raises LimitReached; nothing was taken then."""
        standing = call.options.get(Standing)
        if standing is None or call.operation is Operation.MODELS:
            return service(call)
        plan = self._plans.get(id(standing))
        if plan is None or plan.standing is not standing:
            plan = self._planned(standing)
        if standing.user_limits:
            plan = self._of_user(plan, call.body.fields)
        if plan.held or self._own is None:
            return self._limited(call, service, plan) if plan.metered or plan.held else service(call)
        return self._limited_here(call, service, plan, self._own) if plan.metered else service(call)

    async def _limited_here(self, call: Call, service: Service, plan: Plan, own: MemoryLimits) -> Reply:
        """As `_limited`, where there is room in this process: nothing is waited for, and its meters are at hand."""
        takes = self._takes(call, plan)
        meters = own.take_here(takes)
        if meters is None:
            return await self._limited(call, service, plan)
        ended = partial(self._ended_here, call.trail, plan, takes, meters)
        try:
            reply = await service(call)
        except BaseException as error:
            ended(End.CANCELLED if isinstance(error, asyncio.CancelledError) else End.FAILED, error)
            raise
        return reply.on_end(ended)

    def _ended_here(
        self,
        trail: Trail,
        plan: Plan,
        takes: Sequence[Take],
        meters: Sequence[Meter],
        end: End,
        error: BaseException | None,
    ) -> None:
        """As `_ended`."""
        del error
        usage, now = trail.usage, self._clock.now()
        if not trail.attempts:
            for take, meter in zip(takes, meters, strict=True):
                meter.book(now, -take.cost_s)
        elif usage is not None or end is End.FAILED:
            used = usage.total_tokens if usage is not None else 0
            for place in plan.of_tokens:
                meters[place].book(now, used * plan.ones[place].cost_s - takes[place].cost_s)

    async def _limited(self, call: Call, service: Service, plan: Plan) -> Reply:
        metered, held, takes = plan.metered, plan.held, self._takes(call, plan)
        slots: list[Slot] = []
        if held:
            life_s = max(0.0, min(call.deadline - self._clock.now(), _OPEN_MOST_S)) + _OPEN_MORE_S
            slots = [Slot(bound.name, bound.limit.most, life_s) for bound in held]
        refused, admissions, dues = partial(self._refusal, metered, takes, held), self._store.admissions, None
        if admissions is not None:
            dues = Dues(admissions)
            dues.limits(Part(takes, slots), refused)
            call = call.having(options={**call.options, Dues: dues})
        else:
            taken = await self._store.limits.take(takes, slots, call.id)
            if taken.wait_s > 0:
                raise refused(taken)
        ended = partial(self._ended, _Taken(call.trail, call.id, metered, takes, slots, dues))
        try:
            reply = await service(call)
        except BaseException as error:
            ended(End.CANCELLED if isinstance(error, asyncio.CancelledError) else End.FAILED, error)
            raise
        return reply.on_end(ended)

    def _planned(self, standing: Standing) -> Plan:
        if len(self._plans) >= _PLANS_MOST:
            self._plans.clear()
        plan = self._plans[id(standing)] = planned(standing, standing.levels)
        return plan

    def _of_user(self, plan: Plan, fields: Mapping[str, Any]) -> Plan:
        """Add the limits of the end user that the call names, if it names one."""
        user = fields.get("safety_identifier") or fields.get("user")
        if not isinstance(user, str) or not user:
            return plan
        standing = plan.standing
        mark = blake2b(user.encode("utf-8", "replace"), digest_size=12, key=standing.salt).hexdigest()
        level = Level(f"user {standing.caller} {mark}", standing.user_limits)
        return planned(standing, (level, *standing.levels))

    def _ended(self, taken: _Taken, end: End, error: BaseException | None) -> None:
        """Book what was really used."""
        del error
        if taken.dues is not None and not taken.dues.paid:
            return
        for slot in taken.slots:
            self._store.free(slot.name, taken.holder)
        usage = taken.trail.usage
        if not taken.trail.attempts:
            changes = [Change(take.meter, cost_s=-take.cost_s) for take in taken.takes]  # nobody was asked
        elif usage is None and end is not End.FAILED:
            return  # nobody told what it used: what was reserved stands for it
        else:
            used = usage.total_tokens if usage is not None else 0
            changes = [
                Change(take.meter, used * bound.one.cost_s - take.cost_s)
                for bound, take in zip(taken.metered, taken.takes, strict=True)
                if bound.of_tokens
            ]
        if changes:
            self._store.later(changes)

    def _takes(self, call: Call, plan: Plan) -> Sequence[Take]:
        """Return what is reserved, for each meter.  Raises LimitReached for a call that never fits."""
        if not plan.of_tokens:
            return plan.ones
        asked = charge_of(call.body)
        if asked > plan.tokens_most:
            raise self._too_large(asked, plan)
        tokens, takes = asked + answer_size_of(call.operation, call.body).answer_most, list(plan.ones)
        for place in plan.of_tokens:  # of more than the limit, all: more would be given back in any case
            one, most = takes[place], plan.metered[place].limit.most
            takes[place] = Take(one.meter, (tokens if tokens < most else most) * one.cost_s, one.room_s)
        return takes

    def _too_large(self, asked: int, plan: Plan) -> LimitReached:
        bound = next(it for it in plan.metered if it.of_tokens and asked > it.limit.most)
        self._refused.of(_kind(bound), "tokens").inc()
        return LimitReached(
            f"the call counts {asked} tokens and the limit of {_whose(bound)} is {say_limit(bound.limit)}: "
            "it can never fit, shorten it",
            type="tokens",
            code="request_too_large",
        )

    def _refusal(
        self, metered: Sequence[Bound], takes: Sequence[Take], held: Sequence[Bound], taken: Taken
    ) -> LimitReached:
        """Say which limit it was: of several the one that takes longest."""
        waits = [_wait_s(take, depth) for take, depth in zip(takes, taken.depth_s, strict=True)]
        longest_s = max(waits, default=0.0)
        if longest_s > NEAR_S:
            bound = metered[waits.index(longest_s)]
            self._refused.of(_kind(bound), bound.limit.what).inc()
            return LimitReached(
                f"{_whose(bound)} has used its limit of {say_limit(bound.limit)}; there is room in "
                f"{_span(longest_s)}",
                retry_after_s=longest_s,
            )
        for bound in held:
            self._refused.of(_kind(bound), "open").inc()
        names = " or ".join(f"{_whose(bound)} has {say_limit(bound.limit)}" for bound in held)
        return LimitReached(f"{names}, as many as may be", retry_after_s=_OPEN_AGAIN_S)


def _wait_s(take: Take, depth_s: float) -> float:
    return depth_s if take.cost_s > take.room_s else depth_s + take.cost_s - take.room_s


def _kind(bound: Bound) -> str:
    return bound.level.partition(" ")[0]


def _whose(bound: Bound) -> str:
    return "this end user" if _kind(bound) == "user" else bound.level


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 7200 else f"{math.ceil(seconds / 3600)} h"
