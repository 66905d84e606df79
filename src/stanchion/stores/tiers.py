"""A cache of several stores, the nearest first: this process's memory, then a file, then a server.

What is found further away is kept nearer too, for the time it has left.  A store that is lost or slow rests for
a moment and is not asked meanwhile: losing one costs speed, never an answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from stanchion.core.clock import Clock
from stanchion.stores.memory_cache import MemoryCache
from stanchion.stores.protocols import CacheStore, Kept, StoreLost

Later = Callable[[Callable[[], Awaitable[None]]], object]  # does a small job soon; may drop it
Told = Callable[[int, StoreLost | TimeoutError | None], None]  # which store was lost, why; None: it is back


class TieredCache:
    """A CacheStore over others.  Only looking waits for a far store, and that no longer than `wait_s`."""

    def __init__(
        self,
        memory: MemoryCache,
        beyond: Sequence[CacheStore],
        clock: Clock,
        *,
        later: Later,
        told: Told,
        wait_s: float = 0.25,
        rest_s: float = 5.0,
    ) -> None:
        """`later` takes what is to be written to the far stores; `told` hears of one that is lost, or back.

        A lost store is not asked for `rest_s`.
        """
        self.memory = memory
        self._beyond = beyond
        self._clock = clock
        self._later = later
        self._told = told
        self._wait_s = wait_s
        self._rest_s = rest_s
        self._rests_until = [0.0] * len(beyond)  # by store
        self._lost = [False] * len(beyond)

    async def get(self, key: bytes) -> Kept | None:
        kept = self.memory.look(key)
        return kept if kept is not None or not self._beyond else await self.look_further(key)

    async def look_further(self, key: bytes) -> Kept | None:
        """Look in the stores beyond memory.  Raises nothing of theirs."""
        for place, store in enumerate(self._beyond):
            kept = await self._asked(place, store.get(key)) if self._awake(place) else None
            if kept is not None:
                self.memory.keep(key, kept.value, kept.left_s)
                for nearer in range(place):
                    self._write(nearer, key, kept.value, kept.left_s)
                return kept
        return None

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        self.keep(key, value, ttl_s)

    def keep(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keep it in memory at once, and further away soon."""
        self.memory.keep(key, value, ttl_s)
        for place in range(len(self._beyond)):
            self._write(place, key, value, ttl_s)

    async def held_bytes(self) -> int:
        """Return what memory holds; a far store's bytes are everybody's."""
        return self.memory.size

    async def aclose(self) -> None:
        for store in self._beyond:
            await store.aclose()

    def _awake(self, place: int) -> bool:
        return self._clock.now() >= self._rests_until[place]

    def _write(self, place: int, key: bytes, value: bytes, ttl_s: float) -> None:
        async def write() -> None:
            if self._awake(place):
                await self._asked(place, self._beyond[place].put(key, value, ttl_s))

        if self._awake(place):
            self._later(write)

    async def _asked(self, place: int, question: Awaitable[Kept | None]) -> Kept | None:
        """Ask a store, and note whether it is there."""
        try:
            with self._clock.timeout_at(self._clock.now() + self._wait_s):
                kept = await question
        except (StoreLost, TimeoutError) as error:
            self._rests_until[place] = self._clock.now() + self._rest_s
            self._note(place, error)
            return None
        self._note(place, None)
        return kept

    def _note(self, place: int, error: StoreLost | TimeoutError | None) -> None:
        lost = error is not None
        if self._lost[place] is not lost:
            self._lost[place] = lost
            self._told(place, error)
