"""The same call gets the same answer again, without a provider: whole, or as a stream.

`Cache` looks.  Before: an answer that is kept and fits is replayed.  It stands above coalescing, so that a
hit waits for nobody.  `CacheFill` writes down, at the end of an answer that came whole.  It stands under
coalescing: of many twins one is written down, whoever of them leaves.

What is shared is said by rules/cache_key.py: repeatable answers, and what a caller asks for; never between two
callers.  A cut or failed answer is not kept, nor one that a fallback gave: the key is of the first target.
Weakness: an answer that is larger than `entry_most_bytes` is not kept, and a stream's bytes are held until its end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from functools import partial
from typing import Literal

import msgspec

from stanchion.core.call import Call, Operation
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.errors import DeadlineExceeded, NotCached
from stanchion.core.reply import End, Head, Reply
from stanchion.core.service import Service
from stanchion.core.usage import Usage
from stanchion.observe.metrics import Metrics
from stanchion.rules.cache_control import USUAL, CacheAsked
from stanchion.rules.cache_key import HomeOf, Twins, cache_key, shares
from stanchion.stores.protocols import Kept
from stanchion.stores.tiers import TieredCache
from stanchion.wire.answers import read_stream, read_whole


class CacheOptions(msgspec.Struct, frozen=True):
    """Which answers are kept, for how long, and how a stream is given again."""

    # "repeatable": where the same call has the same answer, and where a caller asks; "asked": only then
    use: Literal["off", "asked", "repeatable"] = "repeatable"
    life_s: float = 3600.0  # seconds an answer is kept
    most_bytes: int = 64 * 1024 * 1024  # in memory
    far_most_bytes: int = 1024 * 1024 * 1024  # in each store beyond it
    entry_most_bytes: int = 1024 * 1024  # a longer answer is not kept
    wait_s: float = 0.25  # seconds a call waits for a store beyond memory
    replay: Literal["at_once", "as_it_came"] = "at_once"  # of a stream: with or without its pauses


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An answer as it is kept."""

    version: Literal[1]
    life_s: float  # with the time it has left this tells its age, by the store's clock
    endpoint: str
    model: str
    media_type: str
    raw: bytes  # all chunks
    pieces: list[tuple[int, float]]  # of a stream: where each chunk ends, and when it came after the first
    usage: Usage | None


_DONE = b"data: [DONE]"
_write = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(Entry).decode


class Cache:
    """Looks for an answer that is kept."""

    def __init__(
        self,
        options: CacheOptions,
        store: TieredCache,
        home: HomeOf,
        metrics: Metrics,
        *,
        last: bool = True,
    ) -> None:
        """`last`: nothing below has a kept answer either."""
        self._options = options
        self._last = last
        self._unasked = options.use == "repeatable"
        self._store = store
        self._home = home
        self._hits, self._misses = metrics.cache_calls.of("hit"), metrics.cache_calls.of("miss")
        self._held = metrics.cache_bytes.of()

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Answer from the cache, or pass on.  Raises NotCached, UnknownModel.  Cancel: nothing is held."""
        wish: CacheAsked = call.options.get(CacheAsked, USUAL)
        if self._options.use == "off" or not shares(call, unasked=self._unasked):
            if wish.only_stored:
                raise NotCached("no answer to this call is kept, and a new one is not wanted")
            return service(call)
        return self._looked(call, service, wish)

    async def _looked(self, call: Call, service: Service, wish: CacheAsked) -> Reply:
        key = cache_key(call, self._home(call).targets)
        if wish.look:
            kept = await self._store.get(key)
            entry = _entry(kept.value) if kept is not None else None
            self._held.set(self._store.memory.size)  # what was found far away is in memory now
            if kept is not None and entry is not None and entry.life_s - kept.left_s <= wish.max_age_s:
                self._hits.inc()
                return replay(entry, call, self._options.replay)
        if wish.only_stored and self._last:
            raise NotCached(
                "no answer to this call is kept that is young enough, and a new one is not wanted"
            )
        self._misses.inc()
        twins = Twins(key, wish.look)
        reply = await service(call.having(options={**call.options, Twins: twins}))
        if not reply.head.cache:
            reply.head = msgspec.structs.replace(reply.head, cache="miss")
        return reply


class CacheFill:
    """Writes an answer down."""

    def __init__(
        self, options: CacheOptions, store: TieredCache, home: HomeOf, clock: Clock, metrics: Metrics
    ) -> None:
        self._options = options
        self._store = store
        self._home = home
        self._clock = clock
        self._held = metrics.cache_bytes.of()

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass on; note what comes.  At an end that is complete: keep it.  Cancel, failure: nothing is kept."""
        twins: Twins | None = call.options.get(Twins) if call.options else None
        if twins is None or self._options.use == "off":
            return service(call)
        return self._noted(call, twins.key, service)

    async def _noted(self, call: Call, key: bytes, service: Service) -> Reply:
        names = self._home(call).names
        notes = _Notes(key, call.operation, self._clock, self._options.entry_most_bytes)
        pieced = call.stream
        reply = await service(call)
        if names is not None and reply.head.endpoint.partition("#")[0] not in names:
            return reply  # a fallback's answer is not this call's the next time
        notes.pieces = [] if pieced else None
        return reply.through(notes.take).on_end(partial(self._ended, notes, reply))

    def _ended(self, notes: _Notes, reply: Reply, end: End, error: BaseException | None) -> None:
        del error
        if end is not End.COMPLETED or notes.last is None:
            return
        if notes.operation is Operation.RESPONSES and not _completed(notes.last):
            return  # the provider says itself that this is not the whole answer
        life_s, head = self._options.life_s, reply.head
        raw, pieces = b"".join(notes.parts), notes.pieces or []
        entry = Entry(1, life_s, head.endpoint, head.model, head.media_type, raw, pieces, reply.usage)
        self._store.keep(notes.key, _write(entry), life_s)
        self._held.set(self._store.memory.size)


class _Notes:
    """What came of an answer so far."""

    def __init__(self, key: bytes, operation: Operation, clock: Clock, most_bytes: int) -> None:
        self.key = key
        self.operation = operation
        self.parts: list[bytes] = []
        self.pieces: list[tuple[int, float]] | None = None  # None: the answer is one piece
        self.last: Chunk | None = None  # that says something; None also where the answer is too long
        self._clock = clock
        self._left = most_bytes

    async def take(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        """Pass every chunk on, and note it."""
        size, first_at, now = 0, math.nan, self._clock.now
        async for chunk in chunks:
            raw = chunk.raw
            self._left -= len(raw)
            if self._left < 0:
                self.parts, self.last = [], None
            else:
                self.parts.append(raw)
                if not raw.startswith(_DONE):
                    self.last = chunk
                if self.pieces is not None:
                    at, size = now(), size + len(raw)
                    first_at = at if math.isnan(first_at) else first_at
                    self.pieces.append((size, round(at - first_at, 3)))
            yield chunk


def _completed(last: Chunk) -> bool:
    """Say whether a response of the Responses API says that it is complete."""
    return any(event.finish_reason == "completed" for event in last.events)


def _entry(value: bytes) -> Entry | None:
    """Read an entry; None if it is of another version, or spoiled."""
    try:
        return _read(value)
    except (msgspec.DecodeError, ValueError):
        return None


def replay_near(options: CacheOptions, kept: Kept, call: Call, similarity: float) -> Reply | None:
    """Give the kept answer to a question that means the same; None if it is older than the call wants, or spoiled."""
    entry, wish = _entry(kept.value), call.options.get(CacheAsked, USUAL)
    if entry is None or entry.life_s - kept.left_s > wish.max_age_s:
        return None
    reply = replay(entry, call, options.replay)
    reply.head = msgspec.structs.replace(reply.head, cache="semantic", similarity=similarity)
    return reply


def replay(entry: Entry, call: Call, how: Literal["at_once", "as_it_came"]) -> Reply:
    """Give a kept answer again."""
    head = Head(endpoint=entry.endpoint, model=entry.model, media_type=entry.media_type, cache="hit")
    read = read_stream(call.operation) if call.stream else read_whole(call.operation)
    if how == "at_once" or len(entry.pieces) < 2:
        return Reply.whole(head, Chunk(entry.raw, read), entry.usage)
    reply = Reply(head, _as_it_came(entry, call))
    reply.usage = entry.usage
    return reply


async def _as_it_came(entry: Entry, call: Call) -> AsyncGenerator[Chunk, None]:
    """Give the chunks with the pauses they came with, as far as the deadline goes."""
    now, read, begin = asyncio.get_running_loop().time, read_stream(call.operation), 0
    began_at = now()
    for end, after_s in entry.pieces:
        due_at = min(began_at + after_s, call.deadline)
        if due_at > now():
            await asyncio.sleep(due_at - now())
        if not math.isinf(call.deadline) and now() >= call.deadline:
            raise DeadlineExceeded("the call's deadline passed before the answer was complete")
        yield Chunk(entry.raw[begin:end], read)
        begin = end
