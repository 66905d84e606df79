"""The blocking client: the async one, run in a portal.  No second implementation of anything."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NoReturn, ParamSpec, Self, TypeVar

from stanchion.client.answers import Answer, Timing
from stanchion.client.async_client import AsyncClient
from stanchion.client.configured import Config, sealed
from stanchion.client.mapping import Map
from stanchion.client.portal import Portal
from stanchion.client.stream import Delta, Stream
from stanchion.client.sync_map import SyncMap
from stanchion.core.call import Priority
from stanchion.core.errors import SettingsError
from stanchion.core.secret import Secret
from stanchion.core.trail import Attempt
from stanchion.core.usage import Usage

if TYPE_CHECKING:
    from openai import OpenAI

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=Answer)


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Awaitable[T]],
) -> Callable[Concatenate[Client, P], T]:
    @functools.wraps(method)
    def call(self: Client, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.portal.run(method, self.asynchronous, *args, **kwargs)

    return call


def _streaming(
    method: Callable[Concatenate[AsyncClient, P], Stream[A]],
) -> Callable[Concatenate[Client, P], SyncStream[A]]:
    @functools.wraps(method)
    def call(self: Client, *args: P.args, **kwargs: P.kwargs) -> SyncStream[A]:
        return SyncStream(self.portal.run_sync(method, self.asynchronous, *args, **kwargs), self.portal)

    return call


def _mapping(
    method: Callable[Concatenate[AsyncClient, P], Map[T]],
) -> Callable[Concatenate[Client, P], SyncMap[T]]:
    @functools.wraps(method)
    def call(self: Client, *args: P.args, **kwargs: P.kwargs) -> SyncMap[T]:
        return SyncMap(method(self.asynchronous, *args, **kwargs), self.portal)

    return call


class Client:
    """`AsyncClient` for blocking code, with the same methods.  Safe in several threads and after a fork.

    Weakness: a call costs about 100 µs more than an async one, for the way to the loop's thread and back.
    """

    providers = "nobody yet"  # whom it calls

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
        """Read the settings; nothing is opened yet.  See AsyncClient.  Raises SettingsError."""
        api_key, problem = sealed(api_key)
        if problem:
            raise SettingsError(problem)
        self.asynchronous = AsyncClient(
            config,
            api_key=api_key,
            base_url=base_url,
            settings=settings,
            priority=priority,
            caller=caller,
        )
        self.providers = self.asynchronous.providers
        self.portal = Portal(self.asynchronous.homes.parted)

    chat = _blocking(AsyncClient.chat)
    responses = _blocking(AsyncClient.responses)
    embed = _blocking(AsyncClient.embed)
    models = _blocking(AsyncClient.models)
    stream = _streaming(AsyncClient.stream)
    stream_responses = _streaming(AsyncClient.stream_responses)
    map = _mapping(AsyncClient.map)

    def openai(self, **options: Any) -> OpenAI:
        """Return an `OpenAI` over this client's engine; `options` are its own.  Needs `openai`."""
        from stanchion.client.transport import sync_openai  # noqa: PLC0415 - the SDK is no dependency

        return sync_openai(self.asynchronous.homes, self.portal, options)

    def close(self) -> None:
        """End the engine and close its connections.  A later call makes a new one."""
        self.portal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds keys and is not pickled: make one in each process")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.providers}>"


class SyncStream(Generic[A]):
    """A streamed answer for blocking code: `with client.stream(...) as stream: for delta in stream: ...`."""

    def __init__(self, stream: Stream[A], portal: Portal) -> None:
        self._stream = stream
        self._portal = portal
        self._entered = False

    def __enter__(self) -> Self:
        """Ask, and wait until the answer begins."""
        self._portal.run(self._stream.__aenter__)
        self._entered = True
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Delta]:
        try:
            while deltas := self._portal.run(self._stream.take):
                yield from deltas
        finally:
            if not self._entered:
                self.close()

    def close(self) -> None:
        """End the call now.  What came so far stays."""
        if not self._stream.ended:
            self._portal.finish(self._stream.aclose)

    def reply(self) -> A:
        """Return all that came as one whole answer.  Raises InvalidCall before the end."""
        return self._stream.reply()

    @property
    def text(self) -> str:
        """What was read of the text of the first choice."""
        return self._stream.text

    @property
    def complete(self) -> bool:
        """Whether the stream was read to the end that the provider said."""
        return self._stream.complete

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended, once it has."""
        return self._stream.finish_reason

    @property
    def usage(self) -> Usage | None:
        """The tokens, after the end."""
        return self._stream.usage

    @property
    def cost(self) -> Decimal | None:
        """What it cost, in dollars, after the end; None if not known."""
        return self._stream.cost

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Every try at every endpoint so far."""
        return self._stream.attempts

    @property
    def timing(self) -> Timing:
        """How long it took, after the end."""
        return self._stream.timing

    @property
    def model(self) -> str:
        """The model that answers."""
        return self._stream.model

    @property
    def endpoint(self) -> str:
        """Which endpoint answers, once one does."""
        return self._stream.endpoint

    def __repr__(self) -> str:
        return repr(self._stream)
