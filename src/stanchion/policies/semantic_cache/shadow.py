"""What the semantic cache would have answered, beside what was answered: figures, and never a word of either.

A call that ended whole is judged afterwards, so that it waits for nothing: against the questions that were known when
it began.  The two answers are compared by their wording (rules/wording.py), which is a hint and no judgement: at
temperature 0 a model answers the same request in the same words, mostly.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from stanchion.core.call import Call
from stanchion.core.reply import Reply
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.policies.semantic_cache.options import SemanticCacheOptions
from stanchion.rules.wording import alike
from stanchion.stores.protocols import Kept
from stanchion.stores.tiers import TieredCache

if TYPE_CHECKING:
    from stanchion.stores.nearest import Nearest

log = logging.getLogger(__name__)
T = TypeVar("T")
# Gives a kept answer again; None if it is older than the call wants, or spoiled.
Replay = Callable[[Kept, Call, float], Reply | None]
_BANDS = (0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99)  # of similarity, by which agreement is kept apart


class Worker(Protocol):
    """Does one thing after the other where it blocks nobody."""

    def do(self, job: Callable[[], T], /) -> Awaitable[T]: ...


class Shadow:
    """The judge."""

    def __init__(
        self,
        options: SemanticCacheOptions,
        known: Nearest,
        worker: Worker,
        store: TieredCache,
        replay: Replay,
        *,
        metrics: Metrics,
    ) -> None:
        self._options = options
        self._known = known
        self._worker = worker
        self._store = store
        self._replay = replay
        self._metrics = metrics

    async def judge(self, call: Call, scope: bytes, key: bytes, vector: bytes, began_at: float) -> None:
        """Say what the call would have been answered."""
        after = began_at - self._options.life_s
        near = await self._worker.do(partial(self._known.find, scope, vector, after=after, before=began_at))
        if near is None or near.key == key:
            self._count("none")
            return
        ours, theirs = await self._text(key, call), await self._text(near.key, call)
        if ours is None or theirs is None:
            self._count("none")
            return
        agreement = await self._worker.do(partial(alike, ours, theirs))
        would = near.similarity >= self._options.threshold
        result = "hit" if would else "far"
        self._count(result)
        self._metrics.semantic_similarity.of(result).observe(near.similarity)
        self._metrics.semantic_agreement.of(_band(near.similarity)).observe(agreement)
        log_event(
            log,
            logging.INFO,
            "semantic_cache.shadow",
            id=call.id,
            similarity=round(near.similarity, 4),
            would_answer=would,
            agreement=round(agreement, 3),
        )

    async def _text(self, key: bytes, call: Call) -> str | None:
        """Return a kept answer's text; None where it is gone, or is none."""
        kept = await self._store.get(key)
        reply = self._replay(kept, call, 1.0) if kept is not None else None
        if reply is None:
            return None
        async with reply:
            return "".join([chunk.text async for chunk in reply]) or None

    def _count(self, result: str) -> None:
        self._metrics.semantic_calls.of("shadow", result).inc()


def _band(similarity: float) -> str:
    """Name the band a similarity lies in by its lower end."""
    return str(max((each for each in _BANDS if each <= similarity), default=0.0))
