"""The async client: OpenAI's operations as methods, each a Call to the engine of the running event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import msgspec

from stanchion.client.answers import ChatReply, EmbeddingReply, Facts, Model, ResponseReply
from stanchion.client.configured import Config, configured, sealed
from stanchion.client.cost import Prices
from stanchion.client.home import Homes
from stanchion.client.mapping import Map, MapOptions, Order, Rows, rendering
from stanchion.client.per_call import (
    NOTHING_SAID,
    OURS,
    Messages,
    PerCall,
    ResumeMode,
    as_messages,
    unwritable,
)
from stanchion.client.stream import Stream, whole_chat, whole_response
from stanchion.core.call import Body, Call, Operation, Priority, json_call, read_priority
from stanchion.core.chunk import Event
from stanchion.core.errors import InvalidCall, SettingsError
from stanchion.core.reply import Reply
from stanchion.core.secret import Secret
from stanchion.engine.engine import Engine
from stanchion.policies.resume import ResumeOptions
from stanchion.policies.retry import RetryOptions
from stanchion.rules.cache_control import read_cache_control

if TYPE_CHECKING:
    from openai import AsyncOpenAI

R = TypeVar("R")


class AsyncClient:
    """Calls OpenAI's API, and all that speak it, through every policy of the engine.

    Safe in several event loops one after the other and in several threads at once: each loop gets an
    engine of its own at its first call, and it ends with the loop.  Parameters have OpenAI's names and
    pass through as they are, those that nobody here knows included.
    """

    providers = "nobody yet"  # whom it calls; here for the `repr` of a client whose settings are refused

    def __init__(
        self,
        config: Config = None,
        *,
        api_key: str | Secret | None = None,
        base_url: str | None = None,
        settings: Mapping[str, Any] | None = None,
        priority: Priority = "interactive",
        caller: str = "",
    ) -> None:
        """Read the settings; nothing is opened yet.  Raises SettingsError, which says what to write.

        Args:
            config: a settings file, or settings that are loaded already; by default `STANCHION_CONFIG`,
                then `stanchion.toml` in the current directory, then the environment alone.
            api_key: a key; with `base_url` it names the one provider of this client.
            base_url: the address of an OpenAI-compatible API, with its version.
            settings: single settings over the file: {"retry.attempts": 5}.
            priority: of calls that say none; "batch" lets interactive calls go before it.
            caller: for whom calls are that do not say it; callers share a line fairly.
        """
        # rebound at once: a traceback that shows locals must not show the key
        api_key, problem = sealed(api_key)
        if problem:
            raise SettingsError(problem)
        self._loaded = configured(config, key=api_key, base_url=base_url, settings=settings)
        self.providers = ", ".join(self._loaded.settings.providers)
        self._prices = Prices(self._loaded.settings.prices, self._loaded.settings)
        self.homes = Homes(self._loaded)  # where its engines live
        self._engines = self.homes.engines
        self._usual: dict[str, Any] = {"priority": read_priority(priority), "caller": caller}

    async def chat(
        self,
        messages: Messages,
        *,
        model: str,
        deadline_s: float | None = None,
        idempotency_key: str | None = None,
        retry: RetryOptions | None = None,
        resume: ResumeMode | None = None,
        headers: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        caller: str | None = None,
        cache: str | None = None,
        **params: Any,
    ) -> ChatReply:
        """Return a whole chat completion.  A str as `messages` is one message of the user.

        Raises StanchionError: CallerError is yours, UpstreamError the provider's.  Cancel: it is ended there.
        """
        params["messages"], params["model"] = as_messages(messages), model
        said = PerCall(deadline_s, idempotency_key, retry, resume, headers, priority, caller, cache)
        return ChatReply(*await self._whole(Operation.CHAT, params, said))

    def stream(
        self,
        messages: Messages,
        *,
        model: str,
        deadline_s: float | None = None,
        idempotency_key: str | None = None,
        retry: RetryOptions | None = None,
        resume: ResumeMode | None = None,
        headers: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        caller: str | None = None,
        cache: str | None = None,
        **params: Any,
    ) -> Stream[ChatReply]:
        """Return a chat completion as a stream of deltas; it begins when it is entered or first read."""
        params["messages"], params["model"] = as_messages(messages), model
        said = PerCall(deadline_s, idempotency_key, retry, resume, headers, priority, caller, cache)
        return Stream(
            self._call(Operation.CHAT, params, said, stream=True), self._ask, self._prices, whole_chat
        )

    async def responses(
        self,
        input: str | Sequence[Any],
        *,
        model: str,
        deadline_s: float | None = None,
        idempotency_key: str | None = None,
        retry: RetryOptions | None = None,
        headers: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        caller: str | None = None,
        cache: str | None = None,
        **params: Any,
    ) -> ResponseReply:
        """Return a whole answer of the Responses API."""
        params["input"], params["model"] = input, model
        said = PerCall(deadline_s, idempotency_key, retry, None, headers, priority, caller, cache)
        return ResponseReply(*await self._whole(Operation.RESPONSES, params, said))

    def stream_responses(
        self,
        input: str | Sequence[Any],
        *,
        model: str,
        deadline_s: float | None = None,
        idempotency_key: str | None = None,
        retry: RetryOptions | None = None,
        headers: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        caller: str | None = None,
        cache: str | None = None,
        **params: Any,
    ) -> Stream[ResponseReply]:
        """Return an answer of the Responses API as a stream of its events."""
        params["input"], params["model"] = input, model
        said = PerCall(deadline_s, idempotency_key, retry, None, headers, priority, caller, cache)
        call = self._call(Operation.RESPONSES, params, said, stream=True)
        return Stream(call, self._ask, self._prices, whole_response)

    async def embed(
        self,
        input: str | Sequence[Any],
        *,
        model: str,
        deadline_s: float | None = None,
        idempotency_key: str | None = None,
        retry: RetryOptions | None = None,
        headers: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        caller: str | None = None,
        cache: str | None = None,
        **params: Any,
    ) -> EmbeddingReply:
        """Return the embeddings of a text, or of several."""
        params["input"], params["model"] = input, model
        said = PerCall(deadline_s, idempotency_key, retry, None, headers, priority, caller, cache)
        return EmbeddingReply(*await self._whole(Operation.EMBEDDINGS, params, said))

    def map(
        self,
        rows: Rows[R],
        template: str | Callable[[R], Any] | None = None,
        *,
        model: str,
        order: Order = "input",
        concurrency: int = 1000,
        attempts: int = 5,
        journal: Path | str | None = None,
        **params: Any,
    ) -> Map[R]:
        """Ask about each row: `async with client.map(rows, "Classify: {{ text }}", model=...) as results`.

        Args:
            rows: any iterable, of which no more is read than results are taken.
            template: Jinja2 over a row's columns, or a function that makes messages of a row; else a row is those.
            model: a model or a route.
            order: of the results: the rows' own, or as they are answered.
            concurrency: calls open at most; how many are is adapted to what the providers take.
            attempts: times a row is given to the engine, which has tries of its own each time.
            journal: a folder that keeps the answers: a later run asks only what is not in it.
            params: of each call, under OpenAI's names.
        """
        options = MapOptions(order, concurrency, attempts, journal, self._usual["caller"])
        return Map(self.engine, rows, rendering(template, {"model": model, **params}), self._prices, options)

    async def models(self) -> list[Model]:
        """List what can be asked: the routes, and the models of every provider that answers."""
        return msgspec.convert(await (await self.engine()).models(), list[Model], strict=False)

    async def engine(self) -> Engine:
        """Return the engine of the running event loop: its metrics, its settings, its connections."""
        return await self.homes.engine()

    def openai(self, **options: Any) -> AsyncOpenAI:
        """Return an `AsyncOpenAI` over this client's engine; `options` are its own.  Needs `openai`."""
        from stanchion.client.transport import async_openai  # noqa: PLC0415 - the SDK is no dependency

        return async_openai(self.homes, options)

    async def aclose(self) -> None:
        """End this event loop's engine and close its connections.  A later call makes a new one."""
        await self.homes.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds keys and is not pickled: make one in each process")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.providers}>"

    async def _ask(self, call: Call) -> Reply:
        engine = self._engines.get(asyncio.get_running_loop()) or await self.homes.engine()
        try:
            return await engine(call)
        except (TypeError, UnicodeEncodeError):
            problem = unwritable(call)
            if problem is None:
                raise
            raise problem from None

    async def _whole(
        self, operation: Operation, params: dict[str, Any], said: PerCall
    ) -> tuple[bytes, Event, Facts]:
        call = self._call(operation, params, said)
        clock = asyncio.get_running_loop().time
        started_at = clock()
        async with await self._ask(call) as reply:
            chunks = [chunk async for chunk in reply]
        chunk = chunks[0]
        facts = Facts(reply.head, reply.usage, call.trail, self._prices, started_at, reply.first_at, clock())
        return chunk.raw, chunk.events[0], facts

    def _call(
        self, operation: Operation, params: dict[str, Any], said: PerCall, *, stream: bool = False
    ) -> Call:
        if params.get("stream", stream) is not stream:
            raise InvalidCall("ask for a stream with stream(...) or stream_responses(...)", param="stream")
        if stream:
            params["stream"] = True
        known = self._usual if said == NOTHING_SAID else self._known(said)
        return json_call(operation, Body(params), **known)

    def _known(self, said: PerCall) -> dict[str, Any]:
        """Turn what one call says into fields of its Call.  Raises InvalidCall."""
        known: dict[str, Any] = {**self._usual, "idempotency_key": said.idempotency_key}
        if said.priority is not None:
            known["priority"] = read_priority(said.priority)
        if said.caller is not None:
            known["caller"] = said.caller
        if said.deadline_s is not None:
            if not 0 < said.deadline_s < math.inf:
                raise InvalidCall("deadline_s must be more than 0 seconds", param="deadline_s")
            known["deadline"] = asyncio.get_running_loop().time() + said.deadline_s
        known["options"] = self._options(said)
        if said.headers:
            if not OURS.isdisjoint([name.lower() for name in said.headers]):
                raise InvalidCall("headers must not name the key, the host or the body", param="headers")
            known["headers"] = said.headers
        return known

    def _options(self, said: PerCall) -> dict[type[Any], Any]:
        most = self._loaded.settings.resume.most
        resume = None if said.resume is None else ResumeOptions(mode=said.resume, most=most)
        wish = None if said.cache is None else read_cache_control(said.cache)
        return {type(each): each for each in (said.retry, resume, wish) if each is not None}
