"""The engine as the transport of an HTTP library, so that the unchanged `openai` SDK runs over it.

openai 3 stands on httpx2 and openai 2 on httpx: two libraries with the same names in them.  The classes
are made from whichever the installed SDK needs; neither is a dependency of ours.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from stanchion.client.exchange import ROOT, Answered, Asked, exchange, stream_bytes
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

    from stanchion.client.async_client import AsyncClient
    from stanchion.client.sync_client import Client

_ORIGIN = "http://stanchion.invalid"  # RFC 2606: no such host, should a request ever miss the transport
_WAITED_IN_VAIN = frozenset({"first_token_timeout", "attempt_timeout"})


def async_openai(client: AsyncClient, options: dict[str, Any]) -> AsyncOpenAI:
    """Return an `AsyncOpenAI` over the client.  Raises SettingsError where the SDK is missing."""
    sdk, http = _sdk()
    transport = classes(http).AsyncEngineTransport(client)
    over = _module(http).AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
    return sdk.AsyncOpenAI(**_options(options), http_client=over)


def sync_openai(client: Client, options: dict[str, Any]) -> OpenAI:
    """Return an `OpenAI` over the client.  Raises SettingsError where the SDK is missing."""
    sdk, http = _sdk()
    transport = classes(http).EngineTransport(client)
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


class Classes:
    """The transports for one HTTP library."""

    def __init__(self, http: str) -> None:
        """`http`: "httpx" or "httpx2"."""
        library = _module(http)

        class AsyncBytes(library.AsyncByteStream):
            """A streamed reply as the library's byte stream."""

            def __init__(self, reply: Reply) -> None:
                self._reply = reply
                self._bytes = stream_bytes(reply)

            async def __aiter__(self) -> AsyncIterator[bytes]:
                try:
                    async for data in self._bytes:
                        yield data
                except StanchionError as error:
                    raise broken(error, library, None) from error

            async def aclose(self) -> None:
                await self._bytes.aclose()
                await self._reply.aclose()  # bytes that nobody began to read close nothing

        class AsyncEngineTransport(library.AsyncBaseTransport):
            """Answers every request from the engine of the running event loop."""

            def __init__(self, client: AsyncClient) -> None:
                self._client = client

            async def handle_async_request(self, request: Any) -> Any:
                asked = _asked(request, await request.aread())
                try:
                    answered = await exchange(await self._client.engine(), asked)
                except StanchionError as error:
                    raise broken(error, library, request) from error
                reply = answered.reply
                content = {"stream": AsyncBytes(reply)} if reply else {"content": answered.body}
                return library.Response(answered.status, headers=answered.headers, request=request, **content)

        class SyncBytes(library.SyncByteStream):
            """A streamed reply, read in the portal."""

            def __init__(self, reply: Reply, client: Client) -> None:
                self._reply = reply
                self._portal = client.portal
                self._bytes = stream_bytes(reply)

            def __iter__(self) -> Iterator[bytes]:
                try:
                    while data := self._portal.run(anext, self._bytes, b""):
                        yield data
                except StanchionError as error:
                    raise broken(error, library, None) from error

            def close(self) -> None:
                if self._reply.end is None:
                    self._portal.run(self._bytes.aclose)
                    self._portal.run(self._reply.aclose)

        class EngineTransport(library.BaseTransport):
            """Answers every request from the engine in the client's portal."""

            def __init__(self, client: Client) -> None:
                self._client = client

            def handle_request(self, request: Any) -> Any:
                asked = _asked(request, request.read())
                try:
                    answered = self._client.portal.run(_exchange, self._client.asynchronous, asked)
                except StanchionError as error:
                    raise broken(error, library, request) from error
                reply = answered.reply
                content = {"stream": SyncBytes(reply, self._client)} if reply else {"content": answered.body}
                return library.Response(answered.status, headers=answered.headers, request=request, **content)

        self.AsyncEngineTransport = AsyncEngineTransport
        self.EngineTransport = EngineTransport


async def _exchange(client: AsyncClient, asked: Asked) -> Answered:
    return await exchange(await client.engine(), asked)


@functools.cache
def classes(http: str) -> Classes:
    """Return the transports for "httpx" or "httpx2"."""
    return Classes(http)


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
    read_s = (request.extensions.get("timeout") or {}).get("read")
    return Asked(request.method, request.url.path, headers, body, read_s)
