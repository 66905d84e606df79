"""The process that asks for what is kept or shared.  Takes orders as `library_worker` does.

{"do": "hits", "calls": 30000, "base_url": ...}: CPU per call of the library that the cache answers.
{"do": "streams", "count": 200, "alike": true, "base_url": ...}: CPU of so many streams at once, in the library.
{"do": "load_hits", "port": ..., "calls": 12000, "connections": 64}: asks a gateway for a kept answer.
{"do": "load_streams", "port": ..., "count": 200, "alike": true}: reads so many streams of a gateway at once.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks.payloads import KEY, MESSAGES, MODEL, PARAMS
from stanchion import AsyncClient

_PARAMS: dict[str, Any] = {**PARAMS, "temperature": 0}
_LAST = b"data: [DONE]\n\n"


async def hits(calls: int, base_url: str) -> dict[str, float]:
    async with AsyncClient(api_key=KEY, base_url=base_url) as client:
        reply = await client.chat(MESSAGES, model=MODEL, **_PARAMS)
        began = time.process_time()
        for _ in range(calls):
            reply = await client.chat(MESSAGES, model=MODEL, **_PARAMS)
            assert reply.text
            assert reply.usage
        cpu_s = time.process_time() - began
        assert reply.cached
    return {"cpu_us": cpu_s / calls * 1e6}


async def streams(count: int, base_url: str, *, alike: bool) -> dict[str, float]:
    settings = {"cache.use": "off"}

    async def one(number: int) -> None:
        params: dict[str, Any] = _PARAMS if alike else {**_PARAMS, "seed": number}
        async with client.stream(MESSAGES, model=MODEL, **params) as stream:
            async for delta in stream:
                _ = delta.text
        assert stream.complete

    async with AsyncClient(api_key=KEY, base_url=base_url, settings=settings) as client:
        await client.engine()
        began = time.process_time()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(one(number))
        return {"cpu_s": time.process_time() - began}


def request(*, stream: bool, **more: object) -> bytes:
    body = {"model": MODEL, "messages": MESSAGES, "stream": stream, **_PARAMS, **more}
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def load_hits(port: int, calls: int, connections: int) -> dict[str, float]:
    left, asked = calls, request(stream=False)

    async def one() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while left > 0:
            left -= 1
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            assert head.startswith(b"HTTP/1.1 200")
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return {"calls": calls}


async def load_streams(port: int, count: int, *, alike: bool) -> dict[str, float]:
    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(stream=True, **({} if alike else {"seed": number})))
        tail = b""
        while _LAST not in tail:
            data = await reader.read(65_536)
            assert data, "a stream was cut"
            tail = tail[-len(_LAST) :] + data
        writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))
    return {"streams": count}


_ORDERS = {"hits": hits, "streams": streams, "load_hits": load_hits, "load_streams": load_streams}


async def obey() -> None:
    """Take orders from stdin until it ends."""
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        print(json.dumps(await _ORDERS[order.pop("do")](**order)), flush=True)


if __name__ == "__main__":
    uvloop.run(obey())
