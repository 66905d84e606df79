"""The process that looks for what means the same.  Takes orders as `library_worker` does.

{"do": "find", "questions": 10000, "calls": 2000}: CPU per lookup among so many questions of one scope.
{"do": "embed", "calls": 300}: CPU per question that the local model embeds.
{"do": "hits", "calls": 300, "base_url": ...}: CPU per call of the library that the semantic cache answers.
"""

from __future__ import annotations

import asyncio
import json
import math
import string
import sys
import time

import numpy as np
import uvloop

from benchmarks.payloads import KEY, MODEL
from stanchion import AsyncClient
from stanchion.providers.minilm.encoder import DIMENSIONS, Encoder
from stanchion.stores.nearest import Nearest

_ASKED = "Can you help me find a therapist who has time for me this week?"

_LETTERS = string.ascii_lowercase


def _us(began: float, calls: int) -> dict[str, float]:
    return {"cpu_us": (time.process_time() - began) / calls * 1e6}


async def find(questions: int, calls: int) -> dict[str, float]:
    lots = np.random.default_rng(20261124)
    known = Nearest(questions, 1 << 30)
    for number in range(questions):
        known.add(b"scope", b"%d" % number, lots.standard_normal(DIMENSIONS, np.float32).tobytes(), 0.0)
    wanted = [lots.standard_normal(DIMENSIONS, np.float32).tobytes() for _ in range(64)]
    assert len(known) == questions
    began = time.process_time()
    for number in range(calls):
        assert known.find(b"scope", wanted[number % 64], after=-1.0, before=math.inf)
    return _us(began, calls)


async def embed(calls: int) -> dict[str, float]:
    encoder = Encoder()
    began = time.process_time()
    for number in range(calls):
        assert encoder.encode(f"{_ASKED} {number}") is not None
    return _us(began, calls)


async def hits(calls: int, base_url: str) -> dict[str, float]:
    settings = {"semantic_cache.mode": "on", "semantic_cache.threshold": 0.8, "semantic_cache.wait_s": 9.0}
    async with AsyncClient(api_key=KEY, base_url=base_url, settings=settings) as client:
        await client.chat(_ASKED, model=MODEL, temperature=0)
        entries = (await client.engine()).metrics.semantic_entries.of()
        async with asyncio.timeout(30):
            while entries.value < 1:  # noqa: ASYNC110 - it is noted in a thread, after the answer
                await asyncio.sleep(0.01)
        began = time.process_time()
        for number in range(calls):
            text = f"{_ASKED} {_LETTERS[number // 26 % 26]}{_LETTERS[number % 26]}"  # always another one
            reply = await client.chat(text, model=MODEL, temperature=0)
            assert reply.similarity is not None
            assert reply.text
        return _us(began, calls)


_ORDERS = {"find": find, "embed": embed, "hits": hits}


async def obey() -> None:
    """Take orders from stdin until it ends."""
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        print(json.dumps(await _ORDERS[order.pop("do")](**order)), flush=True)


if __name__ == "__main__":
    uvloop.run(obey())
