"""What the semantic cache of an engine needs: a thread, something that embeds, and the questions that are known.

The local model runs in the thread.  Any other is asked through the engine itself as the caller who asks, so that it is
limited, priced and booked like any call of theirs.  An embedding that fails or takes too long makes no call fail: the
embedder rests for a moment, and the log says so once.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

import msgspec

from stanchion.core.call import Body, Call, Operation
from stanchion.core.clock import Clock
from stanchion.core.errors import DeadlineExceeded, SettingsError, StanchionError
from stanchion.core.service import Service
from stanchion.engine.settings import Settings
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.policies.semantic_cache import Meaning, SemanticCacheOptions
from stanchion.providers.minilm.weights import model_folder
from stanchion.rules.cache_control import CacheAsked

if TYPE_CHECKING:
    from stanchion.providers.minilm.encoder import Encoder

log = logging.getLogger(__name__)
T = TypeVar("T")
LOCAL = "local"
_LATE = (TimeoutError, DeadlineExceeded)  # of its thread, of the provider
_REST_S = 5.0  # seconds that nobody waits for an embedder that failed
_WAITING_MOST = 64  # texts that wait for the thread: it takes some milliseconds for each
_APART = CacheAsked(look=False, store=False)  # an embedding is used once, and would push answers out


def check_semantic_cache(settings: Settings) -> None:
    """Raise SettingsError where the semantic cache cannot work."""
    options, at = settings.semantic_cache, "semantic_cache"
    if options.threshold > 1:
        raise SettingsError(f"{at}.threshold is {options.threshold}: it is a similarity, 1 at most")
    if not options.embedder:
        raise SettingsError(f'{at}.embedder must be "{LOCAL}" or a model that gives embeddings')
    if options.mode == "off":
        return
    if settings.cache.use == "off":
        raise SettingsError(
            f'{at}.mode is "{options.mode}", but cache.use is "off": the answers it gives are kept there'
        )
    provider, slash, _ = options.embedder.partition("/")
    if slash and options.embedder not in settings.routes and provider not in settings.providers:
        raise SettingsError(f"{at}.embedder: there is no provider {provider!r} and no such route")
    if find_spec("numpy") is None:
        raise SettingsError(f'{at} needs NumPy: pip install "stanchion[semantic]"')
    if options.embedder == LOCAL:
        model_folder()


class ThreadWorker:
    """Does one thing after the other in a thread of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "stanchion-meaning")
        self.waiting = 0

    async def do(self, job: Callable[[], T], /) -> T:
        """Do it, and return what it returns."""
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, job)
        finally:
            self.waiting -= 1

    def begin(self, job: Callable[[], object]) -> None:
        """Do it soon, for its effect."""
        self._pool.submit(job)

    def close(self) -> None:
        """Take no more; what runs now is some milliseconds long and is left to end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Meanings:
    """Holds what outlives a change of the settings, as long as they want it."""

    def __init__(self, ask: Service, clock: Clock, metrics: Metrics) -> None:
        """`ask` answers calls for embeddings."""
        self._ask = ask
        self._clock = clock
        self._metrics = metrics
        self._held: tuple[str, ThreadWorker, Embedding, Meaning] | None = None

    def take(self, options: SemanticCacheOptions) -> Meaning | None:
        """Go by these settings; None where they want no semantic cache.  Raises SettingsError."""
        if options.mode == "off":
            self._forget()
            return None
        if self._held is None or self._held[0] != options.embedder:
            self._forget()
            self._held = self._made(options)
        _, worker, embedding, meaning = self._held
        embedding.wait_s = options.wait_s
        worker.begin(partial(meaning.known.bound, options.most_entries, options.most_bytes))
        return meaning

    def close(self) -> None:
        """Forget all questions, and end the thread."""
        if self._held is not None:
            self._held[1].close()
        self._forget()

    def _forget(self) -> None:
        """Let go of it.  Calls in flight may use it to their end; the thread ends when nobody holds it any more."""
        self._held = None
        self._metrics.semantic_entries.of().set(0)

    def _made(self, options: SemanticCacheOptions) -> tuple[str, ThreadWorker, Embedding, Meaning]:
        from stanchion.stores.nearest import Nearest  # noqa: PLC0415 - needs NumPy, which is an extra

        worker = ThreadWorker()
        if options.embedder == LOCAL:
            model_folder()  # says what is missing, before a call needs it
            local = LocalModel(worker)
            worker.begin(local.load)
            ask: Ask = local
        else:
            ask = AskedModel(options.embedder, self._ask)
        embedding = Embedding(ask, worker, self._clock, self._metrics)
        known = Nearest(options.most_entries, options.most_bytes)
        return options.embedder, worker, embedding, Meaning(embedding, worker, known)


Ask = Callable[[str, Call], Awaitable[bytes | None]]  # raises StanchionError


class Embedding:
    """Embeds, or says that it cannot."""

    def __init__(self, ask: Ask, worker: ThreadWorker, clock: Clock, metrics: Metrics) -> None:
        self.wait_s = 0.5
        self._ask = ask
        self._worker = worker
        self._clock = clock
        self._seconds = metrics.semantic_embedding_seconds.of()
        self._rests_until = 0.0
        self._lost = False

    async def __call__(self, text: str, call: Call) -> bytes | None:
        """Return the text's embedding; None where it has none, or none in time."""
        began_at = self._clock.now()
        if began_at < self._rests_until or self._worker.waiting >= _WAITING_MOST:
            return None
        until = min(call.deadline, began_at + self.wait_s)
        try:
            with self._clock.timeout_at(until):
                vector = await self._ask(text, call.having(deadline=until))
        except (StanchionError, ImportError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            if until < call.deadline or not isinstance(error, _LATE):  # not for the call's own haste
                self._rests_until = self._clock.now() + _REST_S
                self._note(error)
            return None
        self._seconds.observe(self._clock.now() - began_at)
        self._note(None)
        return vector

    def _note(self, error: Exception | None) -> None:
        lost = error is not None
        if lost is self._lost:
            return
        self._lost = lost
        if error is None:
            log_event(log, logging.INFO, "semantic_cache.embedder_back")
        else:
            log_event(log, logging.WARNING, "semantic_cache.embedder_lost", why=_why(error))


def _why(error: Exception) -> str:
    """Say why there is no embedding, in words that hold nothing of the text."""
    if isinstance(error, _LATE):
        return "it did not answer in time"
    if isinstance(error, SettingsError):  # names what is to be installed
        return str(error)
    code = error.code if isinstance(error, StanchionError) else None
    return code or type(error).__name__


class LocalModel:
    """The model that runs here."""

    def __init__(self, worker: ThreadWorker) -> None:
        self._worker = worker
        self._encoder: Encoder | None = None

    def load(self) -> Encoder:
        """Read the model, once; in the thread."""
        if self._encoder is None:
            from stanchion.providers.minilm.encoder import Encoder  # noqa: PLC0415 - needs NumPy

            self._encoder = Encoder()
        return self._encoder

    async def __call__(self, text: str, call: Call) -> bytes | None:
        del call
        return await self._worker.do(partial(self._encode, text))

    def _encode(self, text: str) -> bytes | None:
        vector = self.load().encode(text)
        return None if vector is None else vector.tobytes()


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Vectors(msgspec.Struct):
    data: list[_Vector]


_read = msgspec.json.Decoder(_Vectors).decode


class AskedModel:
    """A model that a provider runs."""

    def __init__(self, model: str, ask: Service) -> None:
        self._model = model
        self._ask = ask

    async def __call__(self, text: str, call: Call) -> bytes | None:
        body = Body({"model": self._model, "input": text, "encoding_format": "float"})
        asked = Call(
            operation=Operation.EMBEDDINGS,
            body=body,
            model=self._model,
            deadline=call.deadline,
            caller=call.caller,
            caller_key=call.caller_key,
            team=call.team,
            priority=call.priority,
            options={CacheAsked: _APART},
        )
        async with await self._ask(asked) as reply:
            raw = await reply.read_whole()
        try:
            found = _read(raw).data
        except msgspec.MsgspecError:
            return None
        return array("f", found[0].embedding).tobytes() if found else None
