"""The two stacks: what happens to a call, top to bottom, with the reason for each line's place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.later import Later
from stanchion.core.rates import Level
from stanchion.core.reply import Reply
from stanchion.core.service import Filter, Service, stack
from stanchion.engine.settings import Settings
from stanchion.keys.slot import KeySlot
from stanchion.observe.metrics import Metrics
from stanchion.policies.attempt_timeout import AttemptTimeout
from stanchion.policies.balance import Balance, Endpoints, Room
from stanchion.policies.budget import Again, Budget
from stanchion.policies.cache import Cache, CacheFill, replay_near
from stanchion.policies.caller_limits import CallerLimits
from stanchion.policies.coalesce import Coalesce, Spawn
from stanchion.policies.deadline import Deadline
from stanchion.policies.fallback import Fallback, Route
from stanchion.policies.gather import Gather
from stanchion.policies.health import Health
from stanchion.policies.hedge import Hedge, Learned
from stanchion.policies.idempotency import Idempotency
from stanchion.policies.places import Places
from stanchion.policies.priced import Priced, Refuses, refuses_none
from stanchion.policies.rate_limit import NO_QUOTA, Quota, RateLimit, SharedLimits
from stanchion.policies.record import Booked, Record
from stanchion.policies.resume import Resume
from stanchion.policies.retry import Retry
from stanchion.policies.semantic_cache import Meaning, SemanticCache
from stanchion.policies.trace_attempt import TraceAttempt
from stanchion.policies.validate import Validate
from stanchion.rules.cache_key import HomeOf, anywhere
from stanchion.stores.tiers import TieredCache


class Shared(msgspec.Struct, frozen=True):
    """What all filters of an engine share."""

    metrics: Metrics
    clock: Clock
    limits: SharedLimits | None = None  # where several processes keep the providers' limits together
    caller_limits: CallerLimits | None = None  # outlives a reload, as the room does
    cache: TieredCache | None = None  # answers that are kept
    home: HomeOf = anywhere  # where a call goes first
    meaning: Meaning | None = None  # which questions mean the same; outlives a reload
    spawn: Spawn | None = None  # starts a task the engine owns; without it no calls share a flight
    room: Room | None = None  # who waits and what is open; outlives a reload
    learned: Learned | None = None  # how long answers take to begin; outlives a reload
    booked: Booked | None = None  # counts the money of each call
    later: Later | None = None  # does what the end of a call need not wait for
    refuses: Refuses = refuses_none  # models without a price


def call_stack(
    settings: Settings,
    shared: Shared,
    idempotency: Idempotency,
    route: Route,
    endpoints: Endpoints,
    budget: Budget | None = None,
) -> Service:
    """Everything that happens once per call.  Without budgets there is no filter of theirs."""
    metrics, clock = shared.metrics, shared.clock
    room = shared.room or Room(metrics, clock)
    room.configure(settings.line)
    balance = Balance(endpoints, settings.balance, clock, room=room)
    limits = shared.caller_limits or CallerLimits(shared.limits, clock, metrics)
    return stack(
        Record(
            metrics, clock, shared.booked, shared.later
        ),  # outermost: refusals and replays are counted and booked too
        Deadline(settings.deadline, clock),  # above all that waits: one budget of time
        Validate(),  # a cheap refusal before anything that keeps state
        idempotency,  # above all that asks a provider: one key, one call with all its tries
        *_sharing(settings, shared),  # above all that costs money: twins pay once, a hit nothing
        limits,  # of callers; below idempotency: a replay counts nothing
        *(() if budget is None else (budget,)),  # above fallback: the dearest target of the chain is held
        Fallback(route, metrics),  # above retry: each target gets its own tries
        Resume(settings.resume, metrics),  # below fallback: another model is another answer
        Retry(
            settings.retry, metrics, clock=clock, outlook=balance.outlook
        ),  # above balance: the next try may take another endpoint
        *(() if budget is None else (Again(budget),)),  # below retry: each further attempt is held too
        Gather(settings.gather),  # below retry: a stream that was cut while gathering is tried again
        # below gather: a stream that is gathered has a first chunk too; above balance: the second takes another key
        *_hedging(settings, shared, balance, budget),
        service=balance,
    )


def _hedging(settings: Settings, shared: Shared, balance: Balance, budget: Budget | None) -> list[Filter]:
    """What makes second attempts, where any call may have one."""
    options = (settings.hedge, *(each.hedge for each in settings.routes.values() if each.hedge is not None))
    if shared.spawn is None or not any(each.on for each in options):
        return []
    hold = budget.beside if budget is not None else None
    return [
        Hedge(
            settings.hedge,
            balance.beside,
            shared.spawn,
            shared.clock,
            shared.metrics,
            learned=shared.learned,
            hold=hold,
        )
    ]


def _sharing(settings: Settings, shared: Shared) -> list[Filter]:
    """What gives one answer to several calls: now, or later."""
    store, home, clock, metrics = shared.cache, shared.home, shared.clock, shared.metrics
    filters: list[Filter] = []
    if store is not None:
        # on top: a hit waits for nobody; also where it is off, for callers who want nothing but what is kept
        near = _near(settings, shared, store)
        answers = bool(near) and settings.semantic_cache.mode == "on"
        filters.append(Cache(settings.cache, store, home, metrics, last=not answers))
        filters += near  # below: it looks where no answer is kept to the very same call
    if shared.spawn is not None and settings.coalesce.on:
        filters.append(Coalesce(settings.coalesce, home, shared.spawn, clock, metrics))
    if store is not None and settings.cache.use != "off":  # below: of many twins one is written down
        filters.append(CacheFill(settings.cache, store, home, clock, metrics))
    return filters


def _near(settings: Settings, shared: Shared, store: TieredCache) -> list[Filter]:
    """What gives one answer to questions that mean the same, where that is wanted."""
    options, meaning = settings.semantic_cache, shared.meaning
    if options.mode == "off" or settings.cache.use == "off" or meaning is None or shared.spawn is None:
        return []
    return [
        SemanticCache(
            options,
            meaning,
            store,
            replay=partial(replay_near, settings.cache),
            home=shared.home,
            spawn=shared.spawn,
            clock=shared.clock,
            metrics=shared.metrics,
        )
    ]


class EndpointStack:
    """Everything that happens at one endpoint: base URL x model x key.  An `Endpoint`."""

    def __init__(
        self,
        name: str,
        model: str,
        provider: Service,
        settings: Settings,
        shared: Shared,
        *,
        key: KeySlot | None = None,
        quota: Quota = NO_QUOTA,
    ) -> None:
        metrics, clock = shared.metrics, shared.clock
        self.name = name
        provider_settings = settings.providers.get(name.partition("/")[0])
        self._places = Places(provider_settings.open_most if provider_settings is not None else 0)
        self._model = model
        # two providers may be one, under two names
        self.key = f"{key.spec.base_url} {key.spec.place}" if key is not None else name.partition("/")[0]
        self._key = key  # its quarantine stands beside health: it is one for all models
        self._wakes: list[Callable[[], None]] = []  # for the key, which outlives this endpoint
        self._health = Health(name, settings.health, metrics, clock, keyed=key is not None)
        self._rate_limit = RateLimit(name, settings.rate_limit, metrics, clock, quota, shared.limits)
        self._service = stack(
            Priced(name, model, shared.refuses),  # first of all: what is refused counts against nothing
            self._health,  # above all that waits: what rests is asked for nothing; tells Balance through ready_in
            self._places,  # above the quota: who waits for a place has booked nothing
            self._rate_limit,  # a key's quota; above the timeout: waiting for its store is not the provider's time
            AttemptTimeout(settings.attempt_timeout),  # bounds one try, so that Retry may act on it
            TraceAttempt(name, model, metrics, clock),  # innermost: sees what really goes out
            service=provider,
        )

    @property
    def in_flight(self) -> int:
        """Count the replies that are open here."""
        return self._health.in_flight

    @property
    def last_failure(self) -> str:
        """Say by its code why it rests; "" if it does not, or only for its quota or its places."""
        resting = self._key.quarantine if self._key is not None else None
        if resting is not None:
            return resting.code
        return self._health.last_failure if self._health.resting else ""

    def ready_in(self, now: float, call: Call | None = None) -> float:
        """Say in how many seconds a call could start; `inf` is unknown, and a wake will come."""
        rest_s = self._rate_limit.ready_in(now, call)
        for other_s in (
            self._health.ready_in(now),
            self._places.ready_in(),
            self._key.ready_in(now, self._model) if self._key is not None else 0.0,
        ):
            if other_s > rest_s:  # `max` costs as much as all of this
                rest_s = other_s
        return rest_s

    def fill(self) -> float:
        """Say how much of its quota, or of its places, is used now."""
        return max(self._rate_limit.fill(), self._places.fill())

    def quota_left(self) -> str:
        """Say in words what is left of its quota."""
        return self._rate_limit.text()

    def levels(self) -> list[Level]:
        """Say how full each limit of its quota is."""
        return self._rate_limit.levels()

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` when it may be ready earlier than it said."""
        self._health.watch(wake)
        self._places.watch(wake)
        self._rate_limit.watch(wake)
        if self._key is not None:
            if not self._wakes:
                self._key.watch(self._key_is_back)
            self._wakes.append(wake)

    def _key_is_back(self) -> None:
        for wake in self._wakes:
            wake()

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Answer from this endpoint."""
        return self._service(call)
