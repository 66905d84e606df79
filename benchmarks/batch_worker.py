"""One batch job, or what is compared with it, in a process of its own: `python -m benchmarks.batch_worker ORDER`.

ORDER is JSON: {"what": "plain" | "job" | "lane" | "resume", "base_url": ..., "source": ..., "output": ...} and more, see below.
It ends with a line of JSON: seconds and CPU seconds of the work, the peak of the memory, for a job its seconds without
what it imports, and for one that is taken up again the time of the first call on the wall clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import uvloop

from benchmarks.payloads import KEY

if TYPE_CHECKING:
    from stanchion.batch.lanes.lane import Lane
    from stanchion.batch.run import Run
    from stanchion.engine.engine import Engine

WORKERS = 200


async def plain(order: dict[str, Any], source: IO[bytes], output: IO[bytes]) -> None:
    """What one writes in an afternoon: 200 workers, an HTTP client, a file of results."""
    import aiohttp  # noqa: PLC0415 - each process loads what it measures, and nothing else

    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    base = order["base_url"].removesuffix("/v1")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for line in source:
                row = json.loads(line)
                asked = session.post(base + row["url"], data=json.dumps(row["body"]), headers=headers)
                async with asked as reply:
                    body = json.loads(await reply.read())
                told = {"custom_id": row["custom_id"], "response": {"status_code": 200, "body": body}}
                output.write(json.dumps(told).encode() + b"\n")

        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(work())


async def job(order: dict[str, Any], *, first_only: bool = False) -> tuple[float, float]:
    """The same rows as a job of ours.  Returns when all was imported, and the time of the first call where only that is wanted."""
    from stanchion.batch.formats.openai_lines import ErrorOutput, OpenAIOutput  # noqa: PLC0415
    from stanchion.batch.forms.openai_lines import OpenAILines  # noqa: PLC0415
    from stanchion.batch.job import Job, Outputs  # noqa: PLC0415
    from stanchion.batch.lanes.lane import Work  # noqa: PLC0415
    from stanchion.batch.lanes.sync import SyncLane  # noqa: PLC0415
    from stanchion.batch.run import Run  # noqa: PLC0415
    from stanchion.batch.sources.jsonl import JsonLines  # noqa: PLC0415
    from stanchion.cli.process import calm_collector  # noqa: PLC0415
    from stanchion.engine.config import load  # noqa: PLC0415
    from stanchion.engine.engine import Engine  # noqa: PLC0415
    from stanchion.engine.spread_outcome import SpreadOptions  # noqa: PLC0415
    from stanchion.stores.journal.journal import folder_of  # noqa: PLC0415

    calm_collector()  # as `stanchion batch run` does; it walks through all that was imported, once
    loaded_at = time.perf_counter()

    class FirstCall(SyncLane):
        """Ends the job when the first row would be asked, and notes the time."""

        at = 0.0

        async def run(self, work: Work) -> None:
            for item in await work.take(1000):
                FirstCall.at = FirstCall.at or time.time()
                work.back(item)

    output = Path(order["output"])
    async with Engine(load(flags=_flags(order), environ={"HERE_KEY": order.get("key", KEY)})) as engine:
        options = SpreadOptions(most=order.get("most", WORKERS), finish_s=1.0)
        alone = (FirstCall if first_only else SyncLane)(engine, options)
        running = Run(
            Job(
                JsonLines(Path(order["source"])),
                OpenAILines(),
                Outputs(output, OpenAIOutput(), output.with_suffix(".errors"), ErrorOutput()),
                (alone,) if order["what"] != "lane" else (_batches(engine, folder_of(output)), alone),
                folder_of(output),
                durable=order.get("durable", True),
            )
        )
        if order.get("seconds"):
            asyncio.get_running_loop().call_later(order["seconds"], running.stop)
        if order["what"] == "lane":
            await _run_until_all_wait(running)
            return loaded_at, 0.0
        ended = await running.run()
        assert first_only or order.get("seconds") or not ended.exit_code, ended
    return loaded_at, FirstCall.at


def _flags(order: dict[str, Any]) -> dict[str, Any]:
    return {
        "providers.here.preset": order.get("preset", "compatible"),
        "providers.here.base_url": order["base_url"],
        "providers.here.key_env": ["HERE_KEY"],
        "providers.here.models": ["*"],
    }


def _batches(engine: Engine, journal: Path) -> Lane:
    from stanchion.batch.lanes.part_run import BatchLaneOptions  # noqa: PLC0415
    from stanchion.batch.lanes.provider_batch import BatchLane  # noqa: PLC0415

    return BatchLane(engine, journal, BatchLaneOptions(poll_s=0.2, poll_most_s=1.0))


async def _run_until_all_wait(running: Run) -> None:
    """Stop a run when all its rows have been read and handed on."""
    async with asyncio.TaskGroup() as group:
        doing = group.create_task(running.run())
        while running.facts.stage == "reading":  # noqa: ASYNC110 - a run tells nobody how far it is
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        assert not doing.done(), "the provider answered, or the run failed"
        running.stop()


def _peak_kib() -> float:
    """Return the peak of this program alone: `ru_maxrss` begins with what the process held that started it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1])
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    """Do what is ordered; tell what it took."""
    order = json.loads(sys.argv[1])
    began_at, began_cpu = time.perf_counter(), time.process_time()
    loaded_at, first = began_at, 0.0
    if order["what"] == "plain":
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(Path(order["source"]).open("rb"))
            output = stack.enter_context(Path(order["output"]).open("wb"))
            uvloop.run(plain(order, source, output))
    else:
        loaded_at, first = uvloop.run(job(order, first_only=order["what"] == "resume"))
    ended_at = time.perf_counter()
    told = {
        "seconds": ended_at - began_at,
        "loaded_s": ended_at - loaded_at,
        "cpu_s": time.process_time() - began_cpu,
        "peak_kib": _peak_kib(),
        "first_at": first,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
