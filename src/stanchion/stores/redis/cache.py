"""A cache in Redis or Valkey: shared by all who open the same server.

Entries expire there by themselves; what is kept about them (last use, size) is put in order at each `put`.
"""

from __future__ import annotations

import math

from stanchion.stores.protocols import CACHE_ENTRY_BYTES, Kept
from stanchion.stores.redis.wire import Script, Wire

GET, PUT = Script("cache_get"), Script("cache_put")
_USED, _UNTIL, _SIZES = "{stanchion}:cache_used", "{stanchion}:cache_until", "{stanchion}:cache_sizes"
HELD = Script("cache_held")


class RedisCache:
    """A CacheStore of all who open the same server.  The bound is of all of them: the smallest holds."""

    def __init__(self, wire: Wire, most_bytes: int) -> None:
        self._wire = wire
        self._most_bytes = most_bytes

    async def get(self, key: bytes) -> Kept | None:
        found = await self._wire.run(GET, [_entry(key), _USED], [])
        return None if found is None else Kept(found[0], int(found[1]) / 1000)

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        size = len(key) + len(value) + CACHE_ENTRY_BYTES
        if size > self._most_bytes:
            value = b""  # it takes out what was there; nothing of it need be sent
        words = [value, math.ceil(ttl_s * 1000), size, self._most_bytes]
        await self._wire.run(PUT, [_entry(key), _USED, _UNTIL, _SIZES], words)

    async def held_bytes(self) -> int:
        return int(await self._wire.run(HELD, [_SIZES], []) or 0)

    async def aclose(self) -> None:
        await self._wire.aclose()


def _entry(key: bytes) -> str:
    return f"{{stanchion}}:cache:{key.hex()}"
