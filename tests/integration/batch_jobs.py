"""Small jobs over a simulator in this process, for tests of lanes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stanchion.batch.formats.openai_lines import ErrorOutput, OpenAIOutput
from stanchion.batch.forms.openai_lines import OpenAILines
from stanchion.batch.job import Ended, Job, Outputs
from stanchion.batch.lanes.lane import Lane
from stanchion.batch.lanes.part_run import BatchLaneOptions
from stanchion.batch.lanes.provider_batch import BatchLane
from stanchion.batch.lanes.sync import SyncLane
from stanchion.batch.run import Run
from stanchion.batch.sources.jsonl import JsonLines
from stanchion.engine.config import Loaded, load
from stanchion.engine.engine import Engine
from stanchion.engine.spread_outcome import SpreadOptions
from stanchion.simulator import Simulator
from stanchion.stores.journal.journal import folder_of

MakeLanes = Callable[[Engine, Path], Sequence[Lane]]
QUICK = BatchLaneOptions(poll_s=0.02, poll_most_s=0.05)


def write_rows(path: Path, rows: Sequence[int], model: str = "sim-echo") -> None:
    lines = [
        {
            "custom_id": f"row-{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": f"say {n}"}]},
        }
        for n in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def settings(sim: Simulator, tmp_path: Path, **more: str) -> Loaded:
    flags: dict[str, Any] = {
        "providers.sim.preset": "simulator",
        "providers.sim.base_url": sim.base_url,
        "stores.directory": str(tmp_path / "state"),
        "retry.attempts": "1",
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return load(None, flags=flags, environ={})


def sync(engine: Engine) -> SyncLane:
    return SyncLane(engine, SpreadOptions(base_s=0.01))


async def run_job(
    sim: Simulator,
    tmp_path: Path,
    make: MakeLanes,
    *,
    loaded: Loaded | None = None,
    watch: Callable[[Run], None] | None = None,
    **job: Any,
) -> Ended:
    """Run `in.jsonl` to `out.jsonl` through these lanes."""
    out = tmp_path / "out.jsonl"
    async with Engine(loaded or settings(sim, tmp_path)) as engine:
        run = Run(
            Job(
                JsonLines(tmp_path / "in.jsonl"),
                OpenAILines(),
                Outputs(out, OpenAIOutput(), tmp_path / "errors.jsonl", ErrorOutput()),
                make(engine, folder_of(out)),
                folder_of(out),
                durable=False,
                **job,
            )
        )
        if watch is not None:
            watch(run)
        return await run.run()


def answers(tmp_path: Path) -> dict[str, str]:
    """What each row was answered."""
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    return {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines}


def right(rows: Sequence[int]) -> dict[str, str]:
    return {f"row-{n}": f"say {n}" for n in rows}


def lanes(engine: Engine, journal: Path) -> Sequence[Lane]:
    """The provider's batches, looked at often, and what is left at once."""
    return BatchLane(engine, journal, QUICK), sync(engine)
