"""The ASGI application: hot routes as plain callables, the rest in Starlette.

A client that leaves ends its call at once: its task is cancelled, which closes the provider's socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from stanchion.core.call import Body, Call, Operation, new_id
from stanchion.core.errors import StanchionError, Unavailable
from stanchion.engine.engine import Engine
from stanchion.gateway.callers.admin import Admin, AdminToken
from stanchion.gateway.callers.door import Door, headers_of
from stanchion.gateway.callers.watch import CallerWatch
from stanchion.gateway.errors import StreamAborted, error_response, upstream_headers_of
from stanchion.gateway.leaving import Leaving
from stanchion.gateway.mount import Mount, mount_of
from stanchion.gateway.pages import pages
from stanchion.gateway.requests import ClientLeft, Receive, Scope, last_event_id, read_body, read_call
from stanchion.gateway.responses import ResponseHeaders
from stanchion.gateway.streams import Heartbeats, Send, Stream, as_said

log = logging.getLogger(__name__)
_NO_BODY = Body({})
_UNREAD = frozenset({408, 413, 415})  # of refusals that come before the body was read
_WATCH_AFTER_S = (
    0.05  # seconds a call runs before its client is watched: an answer that is there by then needs none
)
_HOT = {
    f"/v1/{operation.path}": operation
    for operation in (
        Operation.CHAT,
        Operation.RESPONSES,
        Operation.EMBEDDINGS,
        Operation.COMPLETIONS,
        Operation.MODERATIONS,
    )
}


class Gateway:
    """One gateway over one engine."""

    def __init__(self, engine: Engine, callers: CallerWatch | None = None) -> None:
        self.engine = engine
        self.door = Door(callers, lambda: engine.settings.callers)
        self.admin = Admin(callers, AdminToken(lambda: engine.loaded))
        self._clock = engine.clock
        self.ready = True  # false: a load balancer should send no more
        self.mounts: Sequence[Mount] = ()  # other faces that are served here
        self.refusing = False  # true: new calls are refused
        self.open: set[asyncio.Task[Any]] = set()  # the tasks of calls that are open
        self._leaving = Leaving(self._clock, _WATCH_AFTER_S)
        self._heartbeats = Heartbeats(engine.settings.gateway.heartbeat_s, engine.spawn, engine.clock)
        self._pages = pages(self)
        self._headers = ResponseHeaders(lambda: engine.loaded.simulated)
        engine.spawn(self._heartbeats.run())

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            operation = _HOT.get(scope["path"])
            if operation is not None:
                return self._answer(operation, scope, receive, send)
        if self.mounts and scope["type"] == "http":
            mount = mount_of(self.mounts, scope["path"])
            if mount is not None:
                return mount(scope, receive, send)
        pages: Any = self._pages
        return pages(scope, receive, send)

    async def _answer(self, operation: Operation, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request and answer it; whatever fails before the first byte becomes an HTTP error."""
        call: Call | None = None
        client, task = self._leaving.follow(receive)
        headers: Mapping[bytes, bytes] = headers_of(scope["headers"])
        try:
            if self.refusing:
                raise Unavailable("the gateway is shutting down", code="shutting_down", retry_after_s=1.0)
            address = scope.get("client")
            peer = address[0] if address else ""
            try:
                admitted = self.door.admit(headers, peer, operation)
            except StanchionError:  # before its body is kept; whoever is refused is let finish first
                await read_body(headers, receive, self.engine.settings.gateway, client, keep=False)
                raise
            raw = await read_body(headers, receive, self.engine.settings.gateway, client)
            peer = self.door.address(headers, peer)
            pepper = self.engine.keys.pepper  # the same for all who share the key book
            call = read_call(operation, raw, headers, self._clock.now(), peer=peer, pepper=pepper)
            call = admitted.sign(call)
            skip = last_event_id(headers) if call.stream else 0
        except BaseException as error:
            client.done()
            if isinstance(error, ClientLeft):
                return
            if not isinstance(error, StanchionError):
                raise
            await self._refuse(send, call, error)
            return
        client.has_sent()
        self.open.add(task)
        answering = self._stream(call, skip, send) if call.stream else self._whole(call, send)
        del headers, scope, raw, call  # a stream would keep the request to its end: 5 KB
        try:
            await answering
        except asyncio.CancelledError:
            if not client.left:
                raise  # the server itself ends us
        finally:
            self.open.discard(task)
            client.done()

    async def _whole(self, call: Call, send: Send) -> None:
        started_at = self._clock.now()
        try:
            reply = await self.engine(call)
            body = reply.take_whole()  # nearly always; the rest is three coroutines more
            if body is None:
                async with reply:
                    body = await reply.read_whole()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and not self.refusing:
                raise  # the client left: there is nobody to tell
            await self._refuse(send, call, as_said(error))
            return
        elapsed_ms = int((self._clock.now() - started_at) * 1000)
        headers = self._headers.of_reply(call, reply.head, stream=False, elapsed_ms=elapsed_ms)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(self, call: Call, skip: int, send: Send) -> None:
        stream = Stream(call.having(body=_NO_BODY), send, self._headers.of_waiting_stream, self._clock)
        self._heartbeats.streams.add(stream)
        try:
            asking = self.engine(call)
            call = stream.call
            async with await asking as reply:
                elapsed_ms = int((self._clock.now() - stream.last_at) * 1000)
                headers = self._headers.of_reply(call, reply.head, stream=True, elapsed_ms=elapsed_ms)
                await stream.start(headers)
                del asking, headers
                await stream.write_all(reply, skip)
        except StreamAborted:
            raise
        except BaseException as error:  # noqa: BLE001 - a task boundary: it is said, or raised again
            await self._end_badly(call, error, stream, send)
        finally:
            self._heartbeats.streams.discard(stream)

    async def _end_badly(self, call: Call, error: BaseException, stream: Stream, send: Send) -> None:
        """Say that a stream failed: as an HTTP error if nothing was sent, in the stream otherwise."""
        if isinstance(error, asyncio.CancelledError) and not self.refusing:
            raise error  # the client left: there is nobody to tell
        said = as_said(error)
        if stream.started:
            await stream.fail(said)
        await self._refuse(send, call, said)

    async def _refuse(self, send: Send, call: Call | None, error: StanchionError) -> None:
        status, headers, body = error_response(error)
        request_id = call.id if call is not None else new_id()
        headers.extend(self._headers.of_error(request_id, upstream_headers_of(error)))
        headers.append((b"content-length", b"%d" % len(body)))
        if self.refusing or status in _UNREAD:
            headers.append((b"connection", b"close"))  # the rest of the request is not read
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
