"""The reference of the gateway: a bare ASGI application that passes bytes through aiohttp, on the same server.

The server has the settings of `stanchion serve`.  It judges nothing, retries nothing, counts nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from benchmarks.payloads import KEY

Message = dict[str, Any]


class PassThrough:
    """One upstream, one unbounded session with aiohttp's defaults."""

    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url}/chat/completions"
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        async with self._session.post(self._url, data=body, headers=self._headers) as response:
            kind = response.headers["content-type"].encode()
            headers = [(b"content-type", kind)]
            if kind.startswith(b"text/event-stream"):
                await send({"type": "http.response.start", "status": response.status, "headers": headers})
                async for data in response.content.iter_any():
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                whole = await response.read()
                headers.append((b"content-length", b"%d" % len(whole)))
                await send({"type": "http.response.start", "status": response.status, "headers": headers})
                await send({"type": "http.response.body", "body": whole, "more_body": False})


async def serve(port: int, base_url: str) -> None:
    """Serve for ever."""
    server = Server(
        PassThrough(base_url),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=2048,
        backpressure=10_000,
        log_level=LogLevels.error,
        http1_settings=HTTP1Settings(header_read_timeout=10_000, max_buffer_size=65_536),
    )
    await server.serve()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--base-url", required=True)
    given = parser.parse_args()
    import uvloop  # noqa: PLC0415 - not on Windows

    uvloop.run(serve(given.port, given.base_url))


if __name__ == "__main__":
    main()
