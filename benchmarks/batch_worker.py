"""One batch job, or what is compared with it, in a process of its own: `python -m benchmarks.batch_worker ORDER`.

ORDER is JSON: {"what": "job", "base_url": ..., "source": ..., "output": ..., "durable": true, "began_at": ...}.  It ends with one line of JSON: seconds
and CPU seconds of the work alone, the peak of its memory, and seconds from `began_at` to the first call.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.payloads import KEY

WORKERS = 200


async def plain(order: dict[str, Any]) -> None:
    """What one writes in an afternoon: 200 workers, an HTTP client, a file of results."""
    import aiohttp  # noqa: PLC0415 - each process loads what it measures, and nothing else

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    base = order["base_url"].removesuffix("/v1")
    with Path(order["source"]).open("rb") as source, Path(order["output"]).open("wb") as output:

        async def work() -> None:
            for line in source:
                row = json.loads(line)
                async with session.post(base + row["url"], data=json.dumps(row["body"]), headers=headers) as reply:
                    body = json.loads(await reply.read())
                told = {"custom_id": row["custom_id"], "response": {"status_code": 200, "body": body}}
                output.write(json.dumps(told).encode() + b"\n")

        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(work())
    await session.close()


async def job(order: dict[str, Any]) -> float:
    """The same rows as a job of ours.  Returns when the first call was made, on the wall clock."""
    from stanchion.batch.formats.openai_lines import ErrorOutput, OpenAIOutput  # noqa: PLC0415
    from stanchion.batch.forms.openai_lines import OpenAILines  # noqa: PLC0415
    from stanchion.batch.job import Job, Outputs  # noqa: PLC0415
    from stanchion.batch.lanes.sync import SyncLane  # noqa: PLC0415
    from stanchion.batch.run import Run  # noqa: PLC0415
    from stanchion.batch.sources.jsonl import JsonLines  # noqa: PLC0415
    from stanchion.engine.config import load  # noqa: PLC0415
    from stanchion.engine.engine import Engine  # noqa: PLC0415
    from stanchion.engine.spread_outcome import SpreadOptions  # noqa: PLC0415
    from stanchion.stores.journal.journal import folder_of  # noqa: PLC0415

    output = Path(order["output"])
    flags = {"providers.here.preset": "compatible", "providers.here.base_url": order["base_url"]}
    environ = {"OPENAI_COMPATIBLE_KEY": KEY}
    async with Engine(load(flags=flags, environ=environ)) as engine:
        lane = SyncLane(engine, SpreadOptions(most=order.get("most", WORKERS)))
        running = Run(
            Job(
                JsonLines(Path(order["source"])),
                OpenAILines(),
                Outputs(output, OpenAIOutput(), output.with_suffix(".errors"), ErrorOutput()),
                (lane,),
                folder_of(output),
                durable=order.get("durable", True),
            )
        )
        first = 0.0
        call = lane._call  # noqa: SLF001 - when the first one is made is what is measured

        def noted(item: Any) -> Any:
            nonlocal first
            first = first or time.time()
            if order.get("first_only"):
                running.stop()
            return call(item)

        lane._call = noted if order.get("first_only") else call  # noqa: SLF001
        ended = await running.run()
        assert order.get("first_only") or not ended.exit_code, ended
    return first


def main() -> None:
    """Do what is ordered; tell what it took."""
    import uvloop  # noqa: PLC0415

    order = json.loads(sys.argv[1])
    work = {"plain": plain, "job": job}[order["what"]]
    began_at, began_cpu = time.perf_counter(), time.process_time()
    first = uvloop.run(work(order))
    told = {
        "seconds": time.perf_counter() - began_at,
        "cpu_s": time.process_time() - began_cpu,
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "first_s": (first or 0.0) - order.get("began_at", 0.0),
        "process": os.getpid(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
