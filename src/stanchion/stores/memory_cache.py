"""A cache in the memory of one process: bytes by key, bounded in bytes, each with its own time to live.

Our own and not cachebox: see docs/decisions/0028.  What has expired leaves when it is asked for, or as the least
recently used; until then it counts.  Use one only from one event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from stanchion.stores.protocols import CACHE_ENTRY_BYTES, Kept


class MemoryCache:
    """A CacheStore that nobody has to wait for.  `now` is a clock in seconds."""

    def __init__(self, most_bytes: int, now: Callable[[], float]) -> None:
        self.size = 0  # bytes
        self._most_bytes = most_bytes
        self._now = now
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()  # value, until

    def bound(self, most_bytes: int) -> None:
        """Hold at most so many bytes from now on."""
        self._most_bytes = most_bytes
        self._make_room()

    def look(self, key: bytes) -> Kept | None:
        """Return what is kept under the key, at once."""
        found = self._entries.get(key)
        if found is None:
            return None
        value, until = found
        left_s = until - self._now()
        if left_s <= 0:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return Kept(value, left_s)

    def keep(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keep it, at once."""
        self._drop(key)
        if ttl_s <= 0 or _size(key, value) > self._most_bytes:
            return
        self._entries[key] = (value, self._now() + ttl_s)
        self.size += _size(key, value)
        self._make_room()

    async def get(self, key: bytes) -> Kept | None:
        return self.look(key)

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        self.keep(key, value, ttl_s)

    async def held_bytes(self) -> int:
        return self.size

    async def aclose(self) -> None:
        """Nothing is open."""

    def _make_room(self) -> None:
        while self.size > self._most_bytes:
            key, (value, _) = self._entries.popitem(last=False)
            self.size -= _size(key, value)

    def _drop(self, key: bytes) -> None:
        gone = self._entries.pop(key, None)
        if gone is not None:
            self.size -= _size(key, gone[0])


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + CACHE_ENTRY_BYTES
