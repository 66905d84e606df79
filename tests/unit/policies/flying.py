"""The cache and coalescing over a scripted provider, as an engine stacks them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.service import Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.cache import Cache, CacheFill, CacheOptions
from stanchion.policies.coalesce import Coalesce, CoalesceOptions
from stanchion.rules.cache_control import CacheAsked, read_cache_control
from stanchion.rules.cache_key import Home
from stanchion.stores.memory_cache import MemoryCache
from stanchion.stores.tiers import TieredCache
from stanchion.testing import chat_call

HOME = Home(("scripted m",), frozenset({"scripted/m"}))


class Stand:
    """The filters over a provider; a Service."""

    def __init__(
        self,
        provider: Service,
        group: asyncio.TaskGroup,
        cache: CacheOptions | None,
        coalesce: CoalesceOptions | None,
        home: Home,
    ) -> None:
        self.metrics, clock = Metrics(), Clock()
        self._group = group
        self.tasks: list[asyncio.Task[None]] = []
        self.failures: list[BaseException] = []
        options = cache or CacheOptions(use="off")
        memory = MemoryCache(options.most_bytes, clock.now)
        self.store = TieredCache(memory, (), clock, later=lambda _: None, told=lambda *_: None)
        self._service = stack(
            Cache(options, self.store, lambda _: home, self.metrics),
            Coalesce(coalesce or CoalesceOptions(on=False), lambda _: home, self.spawn, clock, self.metrics),
            CacheFill(options, self.store, lambda _: home, clock, self.metrics),
            service=provider,
        )

    def spawn(self, job: Coroutine[object, object, None]) -> asyncio.Task[None]:
        async def quiet() -> None:
            try:
                await job
            except (RuntimeError, AssertionError) as error:
                self.failures.append(error)

        self.tasks.append(self._group.create_task(quiet()))
        return self.tasks[-1]

    def counted(self, result: str) -> float:
        return self.metrics.cache_calls.of(result).value

    def __call__(self, call: Call, /) -> Any:
        return self._service(call)


@asynccontextmanager
async def standing(
    provider: Service,
    *,
    cache: CacheOptions | None = None,
    coalesce: CoalesceOptions | None = None,
    home: Home = HOME,
) -> AsyncGenerator[Stand]:
    async with asyncio.TaskGroup() as group:
        stand = Stand(provider, group, cache, coalesce, home)
        yield stand
        for task in stand.tasks:
            task.cancel()


def zero(text: str = "hi", *, stream: bool = False, wish: str | None = None, **more: Any) -> Call:
    """A call whose answer is repeatable; `wish` is its Cache-Control."""
    caller, deadline = more.pop("caller", ""), more.pop("deadline", None)
    fields: dict[str, Any] = {"temperature": 0, **more}
    call = chat_call(text, stream=stream, **fields)
    if deadline is not None:
        call = call.having(deadline=deadline)
    if wish is not None:
        call = call.having(options={CacheAsked: read_cache_control(wish)})
    return call.having(caller=caller)
