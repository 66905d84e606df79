"""LiteLLM's library that answers out of its cache in memory, in a process of its interpreter.

`python -m benchmarks.cache_litellm_worker`; it says when it is ready; an order is {"calls": 1500, "base_url": ...}: CPU per hit.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import litellm  # pyright: ignore[reportMissingImports] - it is in an environment of its own
import uvloop

from benchmarks.payloads import KEY, MESSAGES, MODEL, PARAMS


async def hits(calls: int, base_url: str) -> dict[str, float]:
    known = {"model": f"openai/{MODEL}", "messages": MESSAGES, "api_base": base_url, "api_key": KEY}
    params = {**known, **PARAMS, "temperature": 0, "caching": True}
    reply = await litellm.acompletion(**params)
    await asyncio.sleep(1)  # it keeps the answer beside the call
    began = time.process_time()
    for _ in range(calls):
        reply = await litellm.acompletion(**params)
        assert reply.choices[0].message.content
        assert reply.usage.total_tokens
    cpu_s = time.process_time() - began
    return {"cpu_us": cpu_s / calls * 1e6}


async def obey() -> None:
    """Take orders from stdin until it ends."""
    litellm.cache = litellm.Cache(type="local")
    print(json.dumps({"ready": True}), flush=True)
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(await hits(**json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(obey())
