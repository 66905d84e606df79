"""The engine: settings in, a Service out.  Every face stands on it.

`async with Engine(load()) as engine: reply = await engine(call)`.  One engine belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Self

import msgspec

from stanchion.core.call import Body, Call, Operation
from stanchion.core.clock import Clock
from stanchion.core.errors import StanchionError
from stanchion.core.later import Later
from stanchion.core.rates import Level
from stanchion.core.reply import Reply
from stanchion.core.secret import Secret
from stanchion.core.service import Service
from stanchion.engine.batch_place import BatchPlace, find_offer, find_place, has_flex
from stanchion.engine.books import Books
from stanchion.engine.budgets import CommonBudgets
from stanchion.engine.caching import open_tiers
from stanchion.engine.catalog import Catalog, ReadKeys
from stanchion.engine.common_limits import CommonLimits
from stanchion.engine.config import Loaded
from stanchion.engine.meaning import Meanings
from stanchion.engine.outbox import Outbox
from stanchion.engine.quotas import quota_of
from stanchion.engine.settings import Settings
from stanchion.engine.stack import EndpointStack, Shared, call_stack
from stanchion.keys.checked import Checked
from stanchion.keys.exchange import KeyExchange
from stanchion.keys.ring import KeyRing
from stanchion.keys.slot import KeySpec
from stanchion.keys.watch import KeyWatch
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance import Room
from stanchion.policies.budget import Budget
from stanchion.policies.caller_limits import CallerLimits
from stanchion.policies.hedge import Learned
from stanchion.policies.idempotency import Idempotency
from stanchion.providers.http import HttpClient
from stanchion.providers.key_check import check_key as ask_models
from stanchion.providers.openai import EndpointSpec, OpenAIEndpoint
from stanchion.rules.lane_choice import Offer
from stanchion.stores.opening import open_key_book
from stanchion.wire.objects import as_list, as_object

log = logging.getLogger(__name__)
_DRAIN_S = 5.0  # seconds the outbox may take at the end


class Engine:
    """All policies over all providers."""

    def __init__(self, loaded: Loaded, *, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.clock = Clock()
        self._later = Later(self.clock)
        self.metrics.before_scrape.append(self._later.do)
        room = Room(self.metrics, self.clock)
        self._shared = Shared(self.metrics, self.clock, room=room, later=self._later, learned=Learned())
        self.loaded = loaded
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Open connections lazily, start the outbox."""
        settings = self.loaded.settings
        self._http = HttpClient(settings.http, self.clock)
        self.outbox = Outbox(self.metrics)
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._outbox_task = self.spawn(self.outbox.run())
        self.books: Books | None = None
        self._idempotency = Idempotency(settings.idempotency, self.spawn)
        self.keys = KeyRing(settings.keys, self.clock, self.metrics)
        self.keys.quota = self._quota_left
        self._cache = open_tiers(settings, self.clock, self.metrics, self.outbox)
        self._shared = msgspec.structs.replace(self._shared, cache=self._cache, spawn=self.spawn)
        self._meanings = Meanings(self, self.clock, self.metrics)
        self._key_watch = KeyWatch(self.keys, self.clock, self.check_key)
        self._common: CommonLimits | None = None  # limits that are kept together with other processes
        self._budgets: CommonBudgets | None = None  # money that is kept together with other processes
        self.key_exchange: KeyExchange | None = None  # with other replicas, and `stanchion keys`
        try:
            self.books = books = Books(settings, self.outbox, self.clock, self.metrics)
            self._shared = msgspec.structs.replace(
                self._shared, booked=books.accounts, refuses=books.prices.refuses
            )
            if settings.stores.limits != "memory":
                self._common = CommonLimits(
                    settings.stores.limits,
                    self.clock,
                    self.metrics,
                    replicas_least=settings.stores.replicas_least,
                )
                self._shared = msgspec.structs.replace(self._shared, limits=self._common.shared)
                await self._common.begin()
                self.spawn(self._common.run())
            limiter = CallerLimits(self._shared.limits, self.clock, self.metrics)
            self._shared = msgspec.structs.replace(self._shared, caller_limits=limiter)
            self._build(None)
            await self._begin_budgets()
            await self._begin_keys()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drain the outbox, end all tasks, close all connections."""
        assert self._tasks is not None  # noqa: S101 - entered
        try:
            if not self._outbox_task.done():  # at the end of a loop all tasks are cancelled, this one too
                await self.outbox.drain(_DRAIN_S)
        finally:
            await asyncio.sleep(0)  # a task that never began would leave its coroutine unawaited
            for task in tuple(self._running):
                task.cancel()
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await self._tasks.__aexit__(None, None, None)
            finally:
                if self._common is not None:
                    await self._common.aclose()
                self._meanings.close()
                await self._cache.aclose()
                self._later.do()  # calls that are not settled or booked yet
                if self._budgets is not None:
                    await self._budgets.aclose()
                if self.key_exchange is not None:
                    await self.key_exchange.aclose()
                self._later.do()  # what ended meanwhile
                if self.books is not None:
                    await self.books.aclose()
                await self._http.aclose()

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Answer a call.  Raises StanchionError.  Whoever gets the Reply closes it."""
        options = self._catalog.route_options(call.model)
        if options:
            call = call.having(options={**options, **call.options})
        return self._service(call)

    def reload(self, loaded: Loaded, read: ReadKeys | None = None) -> None:
        """Take new settings.  Calls in flight finish under the old ones; raises SettingsError and keeps them.

        `read` are the keys that were read in a thread; what is not among them is read here.
        """
        before = self.loaded
        self.loaded = loaded
        try:
            self._build(self._catalog, read)
        except BaseException:
            self.loaded = before
            self.metrics.reloads.of("refused").inc()
            raise
        self.metrics.reloads.of("taken").inc()

    async def models(self) -> list[dict[str, Any]]:
        """List the models: our routes, then what each provider says it has.  One that fails is left out."""
        owner = "stanchion"
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": owner} for name in self._catalog.names
        ]
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._models_of(name)) for name in self._catalog.providers]
        for task in asked:
            listed.extend(task.result())
        return list({model["id"]: model for model in reversed(listed)}.values())[::-1]

    async def _models_of(self, provider: str) -> list[dict[str, Any]]:
        call = Call(operation=Operation.MODELS, body=Body({}), model=f"{provider}/*")
        try:
            async with await self(call) as reply:
                found = Body.read(await reply.read_whole()).fields.get("data")
        except StanchionError as error:
            log_event(log, logging.WARNING, "models.not_listed", provider=provider, code=error.code)
            return []
        models = [model for each in as_list(found) or () if (model := as_object(each)) is not None]
        return [model for model in models if isinstance(model.get("id"), str)]

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    @property
    def open_connections(self) -> int:
        """Count the connections to providers, busy and idle."""
        return self._http.open_connections

    def spawn(self, job: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start a task that the engine owns and ends with itself."""
        assert self._tasks is not None  # noqa: S101 - entered
        task = self._tasks.create_task(_logged(job))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _build(self, older: Catalog | None, read: ReadKeys | None = None) -> None:
        settings = self.settings
        catalog = Catalog(settings, self.loaded.environ, self._endpoint, self.keys.slot, read)
        if older is not None:
            catalog.adopt(older)
        meaning = self._meanings.take(settings.semantic_cache)
        self._shared = msgspec.structs.replace(self._shared, home=catalog.home, meaning=meaning)
        self._service: Service = call_stack(
            settings,
            self._shared,
            self._idempotency,
            catalog.route,
            catalog.endpoints,
            self._budget(settings, catalog),
        )
        self._catalog = catalog
        self._cache.memory.bound(settings.cache.most_bytes)
        if self.books is not None:
            self.books.take(settings)
        self.keys.options = settings.keys
        self.keys.longest_s = settings.attempt_timeout.total_s
        self.keys.use(catalog.keys)

    def _budget(self, settings: Settings, catalog: Catalog) -> Budget | None:
        """Make the policy of the budgets; None where there are none."""
        if not settings.budgets or self.books is None:
            return None
        if self._budgets is None:
            self._budgets = CommonBudgets(settings, self.clock, self.metrics, self.outbox, self._common)
            self.spawn(self._budgets.run())
        return self._budgets.policy(settings, catalog, self.books.prices, self._later)

    async def _begin_budgets(self) -> None:
        if self._budgets is not None:
            await self._budgets.begin()

    async def _begin_keys(self) -> None:
        """Read the keys that take a while, take over what other replicas know, look after all from now on."""
        await self._key_watch.first()
        address = self.settings.stores.keys
        if address and address != "memory":  # memory: nobody else is there to be told
            self.key_exchange = KeyExchange(self.keys, open_key_book(address), self.clock)
            await self.key_exchange.begin()
            self.spawn(self.key_exchange.run())
        self.spawn(self._key_watch.run())

    async def check_key(self, spec: KeySpec, secret: Secret) -> Checked:
        """Ask a key's provider whether it knows a value of it."""
        preset, provider = self._catalog.preset(spec.provider), self.settings.providers[spec.provider]
        return await ask_models(self._http, self.clock, preset, secret, provider.headers)

    def _quota_left(self, key: str) -> dict[str, str]:
        """Say by model what is left of a key's quota."""
        found = {
            spec.model: made.quota_left()
            for spec, made in self._catalog.made.items()
            if isinstance(made, EndpointStack) and spec.key is not None and spec.key.name == key
        }
        return {model: left for model, left in found.items() if left}

    def batches(self, model: str) -> BatchPlace | None:
        """Return where batches of a model can be sent; None if nobody who serves it has a Batch API.

        Raises UnknownModel.
        """
        return find_place(self._catalog, self.settings, model, self._http, self.clock, self.books)

    def flexes(self, model: str) -> bool:
        """Say whether all who answer a model first have the cheaper tier "flex".  Raises UnknownModel."""
        return has_flex(self._catalog, model)

    def offer(self, model: str) -> Offer:
        """Say what a model costs, and which cheaper ways there are.  Raises UnknownModel."""
        return find_offer(self._catalog, model, self.books.prices if self.books else None)

    def levels(self) -> dict[str, list[Level]]:
        """Say by endpoint how full its limits are: "openai/gpt-4o#KEY", as far as a key was used."""
        made = {spec.name: each for spec, each in self._catalog.made.items()}
        return {name: each.levels() for name, each in made.items() if isinstance(each, EndpointStack)}

    def _endpoint(self, spec: EndpointSpec) -> EndpointStack:
        provider = OpenAIEndpoint(spec, self._http, self.clock)
        quota = quota_of(self.settings.providers[spec.name.partition("/")[0]], spec.preset)
        return EndpointStack(
            spec.name, spec.model, provider, self.settings, self._shared, key=spec.key, quota=quota
        )


async def _logged(job: Coroutine[object, object, None]) -> None:
    """Run a task of the engine's; its failure is logged and stops no other."""
    try:
        await job
    except Exception:  # a task boundary
        log.exception("engine.task_failed")
