"""The semantic cache between the exact cache and what fills it, over a scripted provider and known embeddings."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.service import Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.cache import Cache, CacheFill, CacheOptions, replay_near
from stanchion.policies.coalesce import Coalesce, CoalesceOptions
from stanchion.policies.semantic_cache import Meaning, SemanticCache, SemanticCacheOptions
from stanchion.stores.memory_cache import MemoryCache
from stanchion.stores.nearest import Nearest
from stanchion.stores.tiers import TieredCache
from tests.unit.policies.flying import HOME

T = TypeVar("T")
ON, SHADOW = SemanticCacheOptions(mode="on", threshold=0.9), SemanticCacheOptions("shadow", 0.9)


def angle(degrees: float) -> bytes:
    """An embedding: two of them are as near as the cosine of what lies between."""
    return array("f", (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))).tobytes()


class Here:
    """A worker without a thread."""

    async def do(self, job: Callable[[], T], /) -> T:
        await asyncio.sleep(0)
        return job()


class Knowing:
    """The filters over a provider; a Service.  `angles`: of each text; one that is not there cannot be embedded."""

    def __init__(
        self,
        provider: Service,
        group: asyncio.TaskGroup,
        angles: dict[str, float],
        options: SemanticCacheOptions,
        cache: CacheOptions,
    ) -> None:
        self.metrics, self.clock, self.angles = Metrics(), Clock(), angles
        self.embedded: list[str] = []
        self._group = group
        memory = MemoryCache(cache.most_bytes, self.clock.now)
        self.store = TieredCache(memory, (), self.clock, later=lambda _: None, told=lambda *_: None)
        self.known = Nearest(options.most_entries, options.most_bytes)
        self._service = stack(
            Cache(cache, self.store, lambda _: HOME, self.metrics, last=options.mode != "on"),
            SemanticCache(
                options,
                Meaning(self._embed, Here(), self.known),
                self.store,
                replay=partial(replay_near, cache),
                home=lambda _: HOME,
                spawn=self.spawn,
                clock=self.clock,
                metrics=self.metrics,
            ),
            Coalesce(CoalesceOptions(), lambda _: HOME, self.spawn, self.clock, self.metrics),
            CacheFill(cache, self.store, lambda _: HOME, self.clock, self.metrics),
            service=provider,
        )

    async def _embed(self, text: str, call: Call) -> bytes | None:
        del call
        self.embedded.append(text)
        await asyncio.sleep(0)
        return angle(self.angles[text]) if text in self.angles else None

    def spawn(self, job: Coroutine[object, object, None]) -> asyncio.Task[None]:
        return self._group.create_task(job)

    def counted(self, result: str, mode: str = "on") -> float:
        return self.metrics.semantic_calls.of(mode, result).value

    async def __call__(self, call: Call, /) -> Any:
        return await self._service(call)


@asynccontextmanager
async def knowing(
    provider: Service,
    angles: dict[str, float],
    options: SemanticCacheOptions = ON,
    cache: CacheOptions | None = None,
) -> AsyncGenerator[Knowing]:
    async with asyncio.TaskGroup() as group:
        yield Knowing(provider, group, angles, options, cache or CacheOptions())


async def settled() -> None:
    """Let what was spawned end: it waits for nothing but its turn."""
    for _ in range(20):
        await asyncio.sleep(0)
