"""One library in one process: makes calls on order and tells what CPU time they took.

`python -m benchmarks.library_worker NAME BASE_URL`; NAME is aiohttp, stanchion, openai or litellm.
An order is {"stream": false, "calls": 3000, "in_flight": 64}.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.payloads import KEY, MESSAGES, MODEL, PARAMS, request_body

Call = Callable[[], Awaitable[int]]  # returns the events it read


async def bare(base_url: str) -> tuple[Call, Call]:
    """aiohttp as it comes: an unbounded session and its defaults.  The body is encoded once, for all calls."""  # noqa: D403
    import aiohttp  # noqa: PLC0415 - each process loads what it measures, and nothing else

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    url = f"{base_url}/chat/completions"
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    whole_body, stream_body = request_body(stream=False), request_body(stream=True)
    loads = json.loads

    async def whole() -> int:
        async with session.post(url, data=whole_body, headers=headers) as response:
            assert loads(await response.read())["usage"]["total_tokens"]
        return 1

    async def stream() -> int:
        events = 0
        async with session.post(url, data=stream_body, headers=headers) as response:
            async for data in response.content.iter_any():
                events += data.count(b"data: ")
        return events - 1  # [DONE] is none

    return whole, stream


async def stanchion(base_url: str) -> tuple[Call, Call]:
    from stanchion import AsyncClient  # noqa: PLC0415

    client = AsyncClient(api_key=KEY, base_url=base_url)

    async def whole() -> int:
        reply = await client.chat(MESSAGES, model=MODEL, **PARAMS)
        assert reply.text
        assert reply.usage
        return 1

    async def stream() -> int:
        events = size = 0
        async with client.stream(MESSAGES, model=MODEL, **PARAMS) as deltas:
            async for delta in deltas:
                events += 1
                size += len(delta.text)
        assert size
        return events

    return whole, stream


async def openai(base_url: str) -> tuple[Call, Call]:
    from openai import AsyncOpenAI  # noqa: PLC0415

    client: Any = AsyncOpenAI(api_key=KEY, base_url=base_url, max_retries=2)

    async def whole() -> int:
        reply = await client.chat.completions.create(model=MODEL, messages=MESSAGES, **PARAMS)
        assert reply.choices[0].message.content
        return 1

    async def stream() -> int:
        events = size = 0
        chunks = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **PARAMS
        )
        async for chunk in chunks:
            events += 1
            size += len((chunk.choices[0].delta.content if chunk.choices else "") or "")
        assert size
        return events

    return whole, stream


async def litellm(base_url: str) -> tuple[Call, Call]:
    import litellm as library  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

    known: dict[str, Any] = {
        "model": f"openai/{MODEL}",
        "messages": MESSAGES,
        "api_base": base_url,
        "api_key": KEY,
    }

    async def whole() -> int:
        reply = await library.acompletion(**known, **PARAMS)
        assert reply.choices[0].message.content
        return 1

    async def stream() -> int:
        events = 0
        async for _ in await library.acompletion(**known, **PARAMS, stream=True):
            events += 1
        return events

    return whole, stream


LIBRARIES = {"aiohttp": bare, "stanchion": stanchion, "openai": openai, "litellm": litellm}


async def measure(call: Call, calls: int, in_flight: int) -> dict[str, float]:
    """Make so many calls, so many of them at once.  Return CPU and wall time, and the events read."""
    left, events = calls, 0

    async def caller() -> None:
        nonlocal left, events
        while left > 0:
            left -= 1
            read = await call()  # not in the sum: it would be read before the wait
            events += read

    started_at, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(caller())
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - started_at,
        "calls": calls,
        "events": events,
    }


async def obey(name: str, base_url: str) -> None:
    """Take orders from stdin until it ends; nothing else runs while one is waited for."""
    whole, stream = await LIBRARIES[name](base_url)
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        call = stream if order["stream"] else whole
        print(json.dumps(await measure(call, order["calls"], order["in_flight"])), flush=True)


def main() -> None:
    import uvloop  # noqa: PLC0415 - not on Windows

    uvloop.run(obey(sys.argv[1], sys.argv[2]))


if __name__ == "__main__":
    main()
