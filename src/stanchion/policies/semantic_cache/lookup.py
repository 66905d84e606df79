"""A question may get the answer to another one of the same caller that means the same.

Before: the question is embedded, and the nearest of its scope is looked for; if it is near enough and its answer is
still kept, that is replayed.  At a complete end the question is noted, by the exact cache's key: answers stand there
alone, so none is kept that the exact cache would not keep.  An answer that was given to another question is not noted
for this one, or meanings would drift.  In shadow mode nothing is looked for before: see shadow.py.

It stands under the exact cache, which says what may be shared (`Twins`) and answers what is the same word for word; above
coalescing, as a hit waits for no flight.  Embedding and comparing happen in a thread of their own; if that fails or
takes too long the call goes on without.
Weakness: what is near is not the same; and each process knows the questions it saw itself, until it ends.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import NotCached
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service
from stanchion.observe.metrics import Metrics
from stanchion.policies.semantic_cache.options import SemanticCacheOptions
from stanchion.policies.semantic_cache.question import Question, read_question
from stanchion.policies.semantic_cache.shadow import Replay, Shadow, Worker
from stanchion.rules.cache_control import USUAL, CacheAsked
from stanchion.rules.cache_key import HomeOf, Twins
from stanchion.stores.tiers import TieredCache

if TYPE_CHECKING:  # it needs NumPy, which only who uses this has
    from stanchion.stores.nearest import Near, Nearest

Embed = Callable[[str, Call], Awaitable[bytes | None]]  # 32-bit floats; None where it cannot.  Raises nothing
Spawn = Callable[[Coroutine[object, object, None]], object]
_NONE_KEPT = "no answer to this call is kept that is young enough, and a new one is not wanted"
_TRIES = 3  # questions whose answer is gone already are forgotten, and the next nearest is taken
_LEARNING_MOST = 256  # questions that wait to be embedded after their answer; more are not noted


class Meaning(msgspec.Struct, frozen=True):
    """What outlives a change of the settings."""

    embed: Embed
    worker: Worker
    known: Nearest  # used by the worker alone


class _Asked(msgspec.Struct, frozen=True, gc=False):
    """A call that went on, until it ends."""

    call: Call
    question: Question
    key: bytes  # of the exact cache
    vector: bytes | None  # if it was embedded before
    began_at: float


class SemanticCache:
    """Looks for an answer to a question that means the same."""

    def __init__(
        self,
        options: SemanticCacheOptions,
        meaning: Meaning,
        store: TieredCache,
        *,
        replay: Replay,
        home: HomeOf,
        spawn: Spawn,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._options = options
        self._meaning = meaning
        self._known = meaning.known
        self._store = store
        self._replay = replay
        self._home = home
        self._spawn = spawn
        self._clock = clock
        self._metrics = metrics
        self._given = metrics.cache_calls.of("semantic")
        self._looking = set[bytes]()  # exact keys of calls that are embedded now
        self._learning = set[bytes]()  # and of those that are noted now
        self._shadow = Shadow(options, meaning.known, meaning.worker, store, replay, metrics=metrics)

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Answer from a question that is near, or pass on.  Raises NotCached.  Cancel: nothing is held."""
        twins: Twins | None = call.options.get(Twins) if call.options else None
        if twins is None:
            return service(call)
        wish: CacheAsked = call.options.get(CacheAsked, USUAL)
        question = read_question(call, self._home(call).targets, most_chars=self._options.text_most_chars)
        if question is None:
            if wish.only_stored:
                raise NotCached(_NONE_KEPT)
            return service(call)
        return self._asked(call, service, question, twins.key)

    async def _asked(self, call: Call, service: Service, question: Question, key: bytes) -> Reply:
        wish: CacheAsked = call.options.get(CacheAsked, USUAL)
        began_at, vector = self._clock.now(), None
        looks = self._options.mode == "on" and wish.look and wish.near
        if looks and not self._known.holds(question.scope):
            self._count("none")
        elif looks and key in self._looking:
            self._count("twin")  # it shares the call to the provider, and is neither embedded nor noted
            if not wish.only_stored:
                return await service(call)
        elif looks:
            self._looking.add(key)
            try:
                vector = await self._embedded(question, call)
                reply = await self._found(call, question, vector) if vector is not None else None
            finally:
                self._looking.discard(key)
            if reply is not None:
                return reply
        if wish.only_stored:
            raise NotCached(_NONE_KEPT)
        reply = await service(call)
        return reply.on_end(partial(self._ended, _Asked(call, question, key, vector, began_at)))

    async def _embedded(self, question: Question, call: Call) -> bytes | None:
        vector = await self._meaning.embed(question.text, call)
        if vector is None:
            self._count("not_embedded")
        return vector

    async def _found(self, call: Call, question: Question, vector: bytes) -> Reply | None:
        """Return the answer of the nearest question that still has one, if it is near enough."""
        for _ in range(_TRIES):
            near = await self._nearest(question.scope, vector)
            if near is None:
                self._count("none")
                return None
            if near.similarity < self._options.threshold:
                self._metrics.semantic_similarity.of("far").observe(near.similarity)
                self._count("far")
                return None
            kept = await self._store.get(near.key)
            if kept is not None:
                reply = self._replay(kept, call, near.similarity)
                self._metrics.semantic_similarity.of("hit" if reply else "old").observe(near.similarity)
                self._count("hit" if reply else "old")  # old: the caller wants a younger one
                if reply is not None:
                    self._given.inc()
                return reply
            await self._meaning.worker.do(partial(self._known.drop, question.scope, near.key))
        self._count("none")
        return None

    def _nearest(self, scope: bytes, vector: bytes) -> Awaitable[Near | None]:
        now = self._clock.now()
        find = partial(self._known.find, scope, vector, after=now - self._options.life_s, before=now)
        return self._meaning.worker.do(find)

    def _ended(self, asked: _Asked, end: End, error: BaseException | None) -> None:
        del error
        if end is not End.COMPLETED or self._store.memory.look(asked.key) is None:
            return  # the exact cache kept nothing
        if asked.key in self._learning:
            return  # a twin, which shared the answer
        if len(self._learning) >= _LEARNING_MOST:
            self._count("too_many")
            return
        self._learning.add(asked.key)
        self._spawn(self._learn(asked))

    async def _learn(self, asked: _Asked) -> None:
        """Note the question; in shadow mode say first what it would have been answered."""
        vector, scope = asked.vector, asked.question.scope
        try:
            if vector is None and await self._is_known(scope, asked.key):
                return  # since a twin of it ended
            if vector is None:
                later = asked.call.having(
                    deadline=math.inf
                )  # nobody waits for it; the embedder has its own bound
                vector = await self._embedded(asked.question, later)
            if vector is None:
                return
            if self._options.mode == "shadow":
                await self._shadow.judge(asked.call, scope, asked.key, vector, asked.began_at)
            add = partial(self._known.add, scope, asked.key, vector, self._clock.now())
            await self._meaning.worker.do(add)
            self._metrics.semantic_entries.of().set(len(self._known))
        finally:
            self._learning.discard(asked.key)

    def _is_known(self, scope: bytes, key: bytes) -> Awaitable[bool]:
        after = self._clock.now() - self._options.life_s
        return self._meaning.worker.do(partial(self._known.has, scope, key, after=after))

    def _count(self, result: str) -> None:
        self._metrics.semantic_calls.of(self._options.mode, result).inc()
