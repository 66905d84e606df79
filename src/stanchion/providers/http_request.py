"""One request as the client library (aiohttp) sends it: a body of bytes needs no task.

Why not the library's own: before Python 3.12 it writes each body from a task of its own, and it
looks through the headers four times (measured 2026-11).  A body that the socket may not take at once is the
library's matter, as is all that is not a body of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, cast

import aiohttp
from aiohttp import ClientTimeout, hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http_writer import StreamWriter
from multidict import CIMultiDict
from yarl import URL

_AT_ONCE_MOST = 32 * 1024  # bytes; a transport takes 64 KiB before it asks for a pause
_ANSWER = {
    *("self", "method", "url", "writer", "continue100", "timer", "request_info", "traces", "loop", "session"),
    "stream_writer",
}
_READING = {
    *("self", "timer", "skip_payload", "read_until_eof", "auto_decompress", "read_timeout", "read_bufsize"),
    *("timeout_ceil_threshold", "max_line_size", "max_field_size", "max_headers"),
}


def _takes(function: Callable[..., Any], names: set[str]) -> bool:
    return set(signature(function).parameters) == names


# A later library may do it in another way: then it does it itself.
_known = _takes(aiohttp.ClientResponse.__init__, _ANSWER) and _takes(
    ResponseHandler.set_response_params, _READING
)
_NO_TIMER = TimerNoop()
_BUFFER = 2**18  # bytes that wait for their reader before the socket is paused; the library's own number
_SCHEMES = ("https", "http")


async def post(
    session: aiohttp.ClientSession, url: URL, headers: CIMultiDict[str], body: bytes, connect: ClientTimeout
) -> aiohttp.ClientResponse:
    """Send a request and wait for the answer's headers; `headers` are the session's and the request's own.

    As the session's own `post` without what is not used here: redirects, cookies, proxies, tracing, the
    library's other timeouts.  Raises a ClientError or TimeoutError.  Cancel: the socket is closed.
    """
    connector = session.connector
    if not _known or connector is None or url.raw_user or url.raw_password or url.scheme not in _SCHEMES:
        return await session.post(url, data=body, headers=headers, allow_redirects=False, timeout=connect)
    loop: Any = connector._loop  # pyright: ignore[reportPrivateUsage] - it has no public name
    request = Request("POST", url, headers=headers, data=body, loop=loop, timer=_NO_TIMER, session=session)
    try:
        connection = await connector.connect(request, [], connect)
    except TimeoutError as error:
        raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {url}") from error
    protocol: Any = connection.protocol
    try:
        protocol.set_response_params(timer=_NO_TIMER, read_until_eof=True, read_bufsize=_BUFFER)
        answer = await request.send(connection)
        try:
            return await answer.start(connection)
        except BaseException:
            answer.close()
            raise
    except BaseException:
        connection.close()
        raise


class Request(ClientRequest):
    """A request with a body of bytes, or with none.  Its headers are complete: see `http.py`."""

    _raw: bytes | None = None  # the body, as long as the library need not know it

    def update_headers(self, headers: Any) -> None:
        """Take the headers, under the host's name."""
        made: CIMultiDict[str] = CIMultiDict()
        if hdrs.HOST not in headers:
            made[hdrs.HOST] = self.url.host_port_subcomponent or ""
        made.extend(headers)
        self.headers = made

    def update_auto_headers(self, skip_auto_headers: object) -> None:
        """Add nothing."""

    def update_body_from_data(self, body: Any, _stacklevel: int = 3) -> None:
        """Take the body, and say how long it is."""
        if _known and type(body) is bytes and len(body) <= _AT_ONCE_MOST:
            self._raw = body
            self.headers[hdrs.CONTENT_LENGTH] = str(len(body))
        else:
            super().update_body_from_data(body, _stacklevel)

    def update_transfer_encoding(self) -> None:
        """Do nothing where the body's length was said."""
        if self._raw is None:
            super().update_transfer_encoding()

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request; return the answer that is to be awaited.  Raises a ClientError."""
        raw, self._raw = self._raw, None
        protocol = cast("Any", conn.protocol)
        waits = protocol.writing_paused or self._continue is not None
        if raw is None or waits or (self.proxy and not self.is_ssl()):
            if raw is not None:
                super().update_body_from_data(raw)
            return await super().send(conn)
        writer = StreamWriter(protocol, self.loop)
        await writer.write_headers(f"{self.method} {self.url.raw_path_qs} HTTP/1.1", self.headers)
        answer = self.response = self.response_class(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=self._traces,
            loop=self.loop,
            session=self._session,
            stream_writer=writer,
        )
        self.loop.call_soon(_write, writer, raw, answer)
        return answer


def _write(writer: StreamWriter, raw: bytes, answer: aiohttp.ClientResponse) -> None:
    """Write a request, a turn of the loop after it was made: many in a row wake their receiver less often."""
    protocol = cast("Any", writer.protocol)
    if answer.closed or writer.transport is None or writer.transport.is_closing():
        protocol.close()  # nobody waits any more, or nobody is there: a reader learns that by itself
        return
    writing = writer.write_eof(raw)
    try:
        writing.send(None)
    except StopIteration:
        return
    writing.close()  # the socket is full now, and has taken all: that it is empty again nobody waits for
