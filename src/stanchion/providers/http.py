"""HTTP to providers: connections, and what went wrong before an answer.  Knows the client library (aiohttp).

What the rest may rely on, and `tests/integration/test_transport.py` holds it to:
- a cancelled call closes its socket at once, before the headers and in mid-body;
- refused, reset, timed out and cut are told apart, and whether anything was sent is known;
- every wait is bounded: connect, first byte, between two reads, and the attempt's deadline.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Mapping
from typing import Any, BinaryIO

import aiohttp
import msgspec
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from stanchion._version import __version__
from stanchion.core.clock import Clock
from stanchion.core.errors import Silent, Unreachable, Unusable, UpstreamError
from stanchion.providers.http_answer import HttpAnswer, Limits
from stanchion.providers.http_request import Request, post

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


# Of every request.  No compression: chunks are forwarded as they come.
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"stanchion/{__version__}",
}


class HttpOptions(msgspec.Struct, frozen=True):
    """The connections to providers."""

    keepalive_s: float = 30.0  # seconds an idle connection is kept
    answer_most_bytes: int = 64 * 1024 * 1024  # a whole answer that is longer is refused
    proxy: str = ""  # an HTTP proxy's URL; "" is none
    ca_file: str = ""  # extra certificate authorities, a PEM file; "" is the system's


class HttpClient:
    """Connections of one event loop.  Make it on that loop, close it there."""

    def __init__(self, options: HttpOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        context: ssl.SSLContext | bool = True
        if options.ca_file:
            context = ssl.create_default_context()
            context.load_verify_locations(options.ca_file)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the engine bounds concurrency; a second bound here would hide waiting
                keepalive_timeout=options.keepalive_s,
                ssl=context,
                ttl_dns_cache=60,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            request_class=Request,
            timeout=_NO_TIMEOUT,  # ours are set per attempt, see Limits
            auto_decompress=True,
            trust_env=False,
        )

    async def open(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | BinaryIO | None, limits: Limits
    ) -> HttpAnswer:
        """Send a request; return when the answer's headers are there, and of a whole answer the body.

        A body that is a file is sent from where it stands, read piece by piece in a thread, and closed.

        Raises Unreachable, Silent, Unusable, Cut or DeadlineExceeded.  Cancel: the socket is closed.
        """
        answer = HttpAnswer(limits, self._clock, self._options.answer_most_bytes)
        try:
            with self._clock.timeout_at(answer.first_byte_until()):
                response = await self._send(
                    method, url, headers, body, _connect_timeout(limits.patience.connect_s)
                )
                answer.opened(response)
                if not limits.stream:
                    answer.body = await answer.read_body()
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                raise Unreachable("no connection to the provider in time", code="connect_timeout") from error
            raise answer.timed_out() from None
        except (aiohttp.ClientError, OSError) as error:
            raise _before_headers(error) from error
        return answer

    def _send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | BinaryIO | None,
        connect: aiohttp.ClientTimeout,
    ) -> Awaitable[aiohttp.ClientResponse]:
        proxy = self._options.proxy
        if method == "POST" and isinstance(body, bytes) and not proxy:  # nearly all
            every = CIMultiDict(_HEADERS)
            every.update(headers)
            return post(self._session, url, every, body, connect)
        return self._session.request(
            method,
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            proxy=proxy or None,
            timeout=connect,
        )

    @property
    def open_connections(self) -> int:
        """Count the connections that are open, busy and idle."""
        connector: Any = self._session.connector
        idle = sum(len(each) for each in connector._conns.values())
        return idle + len(connector._acquired)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


def prepared(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers in the client's own form, so that it need not make it for each request."""
    return CIMultiDictProxy(CIMultiDict(headers))


_timeouts: dict[float, aiohttp.ClientTimeout] = {}


def _connect_timeout(connect_s: float) -> aiohttp.ClientTimeout:
    """Return aiohttp's form of a connect timeout (TCP and TLS); there are as many as there are settings."""
    found = _timeouts.get(connect_s)
    if found is None:
        if len(_timeouts) > 100:
            _timeouts.clear()
        found = _timeouts[connect_s] = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
    return found


def _before_headers(error: Exception) -> UpstreamError:
    """Tell apart what went wrong before the answer's headers, and whether anything was sent."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unreachable("the provider's host name has no address", code="dns")
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Unreachable("no secure connection to the provider: its certificate or TLS failed", code="tls")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError):
        return Unreachable("the provider refused the connection", code="connection_refused")
    if isinstance(error, aiohttp.ClientResponseError):
        return Unusable("the provider answered with something that is not HTTP", code="bad_http")
    return Silent("the provider closed the connection without an answer", code="reset_before_answer")
