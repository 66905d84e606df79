"""The engine as the transport of an HTTP library, so that the unchanged `openai` SDK runs over it.

openai 3 stands on httpx2 and openai 2 on httpx: two libraries with the same names in them.  The classes
are made from whichever the installed SDK needs; neither is a dependency of ours.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stanchion.client.exchange import ROOT, Answered, Asked, exchange, stream_bytes
from stanchion.client.home import Homes
from stanchion.client.portal import Portal
from stanchion.core.errors import (
    Cut,
    DeadlineExceeded,
    SettingsError,
    Silent,
    StanchionError,
    Unreachable,
)
from stanchion.core.reply import Reply

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

T = TypeVar("T")
_ORIGIN = "http://stanchion.invalid"  # RFC 2606: no such host, should a request ever miss the transport
_WAITED_IN_VAIN = frozenset({"first_token_timeout", "attempt_timeout"})


def async_openai(homes: Homes, options: dict[str, Any]) -> AsyncOpenAI:
    """Return an `AsyncOpenAI` over a client's engines.  Raises SettingsError where the SDK is missing."""
    sdk, http = _sdk()
    transport = _as(AsyncEngineTransport, http, "AsyncBaseTransport")(homes, http)
    over = _module(http).AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
    return sdk.AsyncOpenAI(**_options(options), http_client=over)


def sync_openai(homes: Homes, portal: Portal, options: dict[str, Any]) -> OpenAI:
    """Return an `OpenAI` over a client's engine in its portal.  Raises SettingsError where the SDK is missing."""
    sdk, http = _sdk()
    transport = _as(EngineTransport, http, "BaseTransport")(homes, portal, http)
    over = _module(http).Client(transport=transport, trust_env=False, follow_redirects=False)
    return sdk.OpenAI(**_options(options), http_client=over)


def _options(options: dict[str, Any]) -> dict[str, Any]:
    """Lay the user's options over ours: the engine has the keys, tries again, and keeps the time."""
    return {"api_key": "stanchion", "base_url": _ORIGIN + ROOT, "max_retries": 0, "timeout": None, **options}


def _sdk() -> tuple[Any, str]:
    """Import the SDK and name the HTTP library that it stands on."""
    try:
        sdk = importlib.import_module("openai")
    except ImportError:
        raise SettingsError("openai(...) needs the SDK: pip install 'stanchion[openai]'") from None
    names = {each.__module__.partition(".")[0] for each in sdk.DefaultAsyncHttpxClient.__mro__}
    return sdk, "httpx2" if "httpx2" in names else "httpx"


def _module(http: str) -> Any:
    return importlib.import_module(http)


class AsyncBytes:
    """A streamed reply as a byte stream."""

    def __init__(self, reply: Reply, library: Any) -> None:
        self._reply = reply
        self._library = library
        self._bytes = stream_bytes(reply)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._bytes:
                yield data
        except StanchionError as error:
            raise broken(error, self._library, None) from error

    async def aclose(self) -> None:
        """End the call now."""
        await self._bytes.aclose()
        await self._reply.aclose()  # bytes that nobody began to read close nothing


class SyncBytes:
    """A streamed reply as a byte stream, read in the portal."""

    def __init__(self, reply: Reply, library: Any, portal: Portal) -> None:
        self._reply = reply
        self._library = library
        self._portal = portal
        self._bytes = stream_bytes(reply)

    def __iter__(self) -> Iterator[bytes]:
        try:
            while data := self._portal.run(_next, self._bytes):
                yield data
        except StanchionError as error:
            raise broken(error, self._library, None) from error

    def close(self) -> None:
        """End the call now."""
        if self._reply.end is None:
            self._portal.finish(self._end)

    async def _end(self) -> None:
        await self._bytes.aclose()
        await self._reply.aclose()


class AsyncEngineTransport:
    """Answers every request from the engine of the running event loop."""

    def __init__(self, homes: Homes, http: str) -> None:
        self._homes = homes
        self._http = http

    async def handle_async_request(self, request: Any) -> Any:
        """Answer.  Raises the library's errors where the SDK must see a broken connection."""
        library = _module(self._http)
        asked = _asked(request, await request.aread())
        try:
            answered = await exchange(await self._homes.engine(), asked)
        except StanchionError as error:
            raise broken(error, library, request) from error
        if answered.reply is None:
            return _response(library, request, answered, content=answered.body)
        stream = _as(AsyncBytes, self._http, "AsyncByteStream")(answered.reply, library)
        return _response(library, request, answered, stream=stream)


class EngineTransport:
    """Answers every request from the engine in the client's portal."""

    def __init__(self, homes: Homes, portal: Portal, http: str) -> None:
        self._homes = homes
        self._portal = portal
        self._http = http

    def handle_request(self, request: Any) -> Any:
        """Answer.  Raises the library's errors where the SDK must see a broken connection."""
        library = _module(self._http)
        asked = _asked(request, request.read())
        try:
            answered = self._portal.run(_exchange, self._homes, asked)
        except StanchionError as error:
            raise broken(error, library, request) from error
        if answered.reply is None:
            return _response(library, request, answered, content=answered.body)
        stream = _as(SyncBytes, self._http, "SyncByteStream")(answered.reply, library, self._portal)
        return _response(library, request, answered, stream=stream)


async def _exchange(homes: Homes, asked: Asked) -> Answered:
    return await exchange(await homes.engine(), asked)


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(chunks, b"")


def _response(library: Any, request: Any, answered: Answered, **content: Any) -> Any:
    return library.Response(answered.status, headers=answered.headers, request=request, **content)


@functools.cache
def _as(kind: type[T], http: str, name: str) -> type[T]:
    """Make a class of ours one of the library's too: it asks for its own bases."""
    return cast("type[T]", type(kind.__name__, (kind, getattr(_module(http), name)), {}))


def broken(error: StanchionError, library: Any, request: Any) -> Exception:
    """Make the library's error of a broken connection: the SDK raises it and never takes it for an end."""
    if isinstance(error, DeadlineExceeded) or (isinstance(error, Silent) and error.code in _WAITED_IN_VAIN):
        kind = library.ReadTimeout
    elif isinstance(error, Unreachable):
        kind = library.ConnectTimeout if error.code == "connect_timeout" else library.ConnectError
    elif isinstance(error, Cut):
        kind = library.RemoteProtocolError
    else:
        kind = library.ReadError
    made: Exception = kind(str(error), request=request)
    return made


def _asked(request: Any, body: bytes) -> Asked:
    headers = {name.lower(): value for name, value in request.headers.items()}
    timeout: Mapping[str, float | None] = request.extensions.get("timeout") or {}
    read_s = timeout.get("read")
    return Asked(request.method, request.url.path, headers, body, read_s)
