"""`kill -9` at any instant of a job in the batch lane: no batch is lost, and none is paid for twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from stanchion.simulator import BatchOptions, Simulator, SimulatorOptions
from tests.acceptance.batch_world import Starter

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill loop forks"),
]
KILLS = 40
ROWS = 400
SEED = 20261125
# what a kill is to fall into: the batch is there, and nobody was told yet
SLOW = ("slow:0.15,model=batches.create,times=0", "slow:0.05,model=files.create,times=0")
ENDINGS = ["shuffle", "ok", "missing:0.2", "expire:0.6", "rows:0.2", "doubled", "cancelled:0.5", "no_output"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def write_rows(path: Path) -> None:
    with path.open("w") as file:
        for number in range(ROWS):
            body = {"model": "sim-echo", "messages": [{"role": "user", "content": f"say {number}"}]}
            line = {"custom_id": f"c{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")


def config(path: Path, sim: Simulator) -> Path:
    path.write_text(
        f'[providers.sim]\npreset = "simulator"\nbase_url = "{sim.base_url}"\n'
        "batch_poll_s = 0.02\nbatch_tokens_most = 2600\n"  # several parts
    )
    return path


async def one_job(starter: Starter, folder: Path, sim: Simulator, chance: random.Random) -> int:
    """Run a job to its end through kills; return how many there were."""
    output, kills = folder / "out.jsonl", 0
    while True:
        number = await starter.start(
            "batch", "run", str(folder / "in.jsonl"), "-o", str(output), "-c", str(folder / "here.toml"),
            "--lane", "batch", "--progress", "none",
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(starter.ended())
            if kills < KILLS // len(ENDINGS):
                await asyncio.wait([ended], timeout=chance.uniform(0.05, 0.8))
                if not ended.done():
                    os.kill(number, signal.SIGKILL)
        code = ended.result()
        if code != -signal.SIGKILL:
            assert code == 0, starter.log.read_text()
            return kills
        kills += 1


async def test_a_job_that_is_killed_finds_its_batches_again(tmp_path: Path):
    chance, killed = random.Random(SEED), 0
    starter = await Starter.begin(tmp_path / "log")
    try:
        for number, ending in enumerate(ENDINGS):
            folder = tmp_path / str(number)
            folder.mkdir()
            options = SimulatorOptions(
                batches=BatchOptions(work_s=0.25, window_s=1.5), batch_faults=(ending,), faults=SLOW
            )
            async with Simulator(options) as sim:
                write_rows(folder / "in.jsonl")
                config(folder / "here.toml", sim)
                kills = await one_job(starter, folder, sim, chance)
                killed += kills
                marks = Counter((batch.metadata or {})["stanchion_part"] for batch in sim.batches)
                assert max(marks.values()) == 1, "a part was sent twice"
                done = [call for call in sim.calls if call.status == 200 and call.completion_tokens]
                alone = [call for call in done if not call.batch]
                paid = len(done) - ROWS
                # a row that a batch answered and never told (`missing`) is paid twice, and so is a call that
                # was in flight in the sync lane at a kill
                untold = (
                    sum(round(0.2 * batch.completed) for batch in sim.batches) if "missing" in ending else 0
                )
                assert paid <= untold * 2 + 64 * kills * bool(alone)
                if ending in ("ok", "shuffle", "doubled"):
                    assert (paid, alone) == (0, [])
                lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
                assert [line["custom_id"] for line in lines] == [f"c{n}" for n in range(ROWS)]
                said = [line["response"]["body"]["choices"][0]["message"]["content"] for line in lines]
                assert said == [f"say {n}" for n in range(ROWS)]
    finally:
        await starter.aclose()
    assert killed >= KILLS // 2
