"""Many tasks that always have a next call, through the library, which is told no limit.

`python -m benchmarks.quota_worker BASE_URL WORK SECONDS TASKS KEYS [SHARED]`: prints what the callers saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter

import uvloop

from stanchion import AsyncClient, StanchionError


async def work(base_url: str, kind: str, seconds: float, tasks: int, keys: list[str], shared: str) -> None:
    names = [f"BENCH_KEY_{number}" for number, _ in enumerate(keys)]
    os.environ.update(zip(names, keys, strict=True))
    settings = {
        "providers.quota.preset": "openai",
        "providers.quota.base_url": base_url,
        "providers.quota.key_env": names,
        "providers.quota.models": ["*"],
        "deadline.total_s": 3600.0,
        "line.interactive_wait_most_s": 300.0,  # a sliding window lets nobody in for most of it
        "stores.limits": shared,
    }
    ends_at = time.monotonic() + seconds
    seen: Counter[str] = Counter()

    async def caller(client: AsyncClient, number: int) -> None:
        lot = random.Random(number)
        while time.monotonic() < ends_at:
            prompt, answer = (
                (lot.randint(100, 900), lot.randint(300, 1500))
                if kind == "tokens"
                else (lot.randint(10, 40), lot.randint(5, 40))
            )
            asked = [{"role": "user", "content": f"{lot.random()} " + "word " * (prompt * 4 // 5)}]
            try:
                if lot.random() < 0.5:
                    await client.chat(asked, model="gpt-4o", max_tokens=answer)
                else:
                    async with client.stream(asked, model="gpt-4o", max_tokens=answer) as stream:
                        async for _ in stream:
                            pass
                seen["done"] += 1
            except StanchionError as error:
                seen[f"{type(error).__name__} {error.code}"] += 1
                await asyncio.sleep(error.retry_after_s or 1.0)

    async with AsyncClient(settings=settings) as client, asyncio.TaskGroup() as group:
        running = [group.create_task(caller(client, number)) for number in range(tasks)]
        await asyncio.sleep(seconds + 1)
        for each in running:
            each.cancel()
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    url, kind, seconds, tasks, keys, *shared = sys.argv[1:]
    uvloop.run(
        work(url, kind, float(seconds), int(tasks), json.loads(keys), shared[0] if shared else "memory")
    )
