"""Batches of callers over a real engine and a real provider: what is kept when one cannot go on, and who goes first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stanchion.batch.api.files import FileStore
from stanchion.batch.api.jobs import BatchJobs
from stanchion.batch.api.state import BatchState
from stanchion.core.call import Body, Operation, json_call
from stanchion.core.errors import LimitReached
from stanchion.engine.config import Loaded, load
from stanchion.engine.engine import Engine
from stanchion.gateway.callers.door import ANYBODY, Door
from stanchion.simulator import Simulator, SimulatorOptions, Timing
from stanchion.simulator.keys import KeyPlan


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def settings(sim: Simulator, tmp_path: Path, **more: str) -> Loaded:
    flags = {
        "providers.sim.preset": "openai",
        "providers.sim.base_url": sim.base_url,
        "providers.sim.models": '["sim-*"]',
        "providers.sim.key_env": '["SIM_KEY"]',
        "stores.directory": str(tmp_path / "state"),
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return load(None, flags=flags, environ={"SIM_KEY": "sk-sim-only"})


@asynccontextmanager
async def jobs_of(
    loaded: Loaded, folder: Path, room: int = 10**9
) -> AsyncGenerator[tuple[Engine, FileStore, BatchJobs]]:
    async with Engine(loaded) as engine:
        files = FileStore(folder / "files", caller_most_bytes=room, keep_days=1)
        files.open()
        door = Door(None, lambda: loaded.settings.callers)
        jobs = BatchJobs(engine, door, folder / "jobs", files, loaded.settings.batches)
        await jobs.begin()
        try:
            yield engine, files, jobs
        finally:
            await jobs.aclose()


def submit(files: FileStore, jobs: BatchJobs, rows: Sequence[int], model: str = "sim-echo") -> BatchState:
    name, path = files.new_path()
    with path.open("w") as file:
        for n in rows:
            body = {"model": model, "messages": [{"role": "user", "content": f"say {n}"}]}
            line = {"custom_id": f"row-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
    file = files.add(name, owner="", filename="in.jsonl", purpose="batch")
    return jobs.create(ANYBODY, file, Operation.CHAT, None)


async def until(condition: Callable[[], object]) -> None:
    """Look again and again, as a client does."""
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def ended(jobs: BatchJobs, state: BatchState) -> BatchState:
    await until(lambda: jobs.get(state.id, "").ended)
    return jobs.get(state.id, "")


def lines(files: FileStore, name: str | None) -> list[str]:
    assert name is not None
    return [json.loads(line)["custom_id"] for line in files.path(name).read_text("utf-8").splitlines()]


async def test_a_batch_whose_account_dies_ends_and_keeps_what_was_answered(tmp_path: Path):
    async with (
        Simulator(SimulatorOptions(timing=Timing(ttft_s=0.02))) as sim,
        jobs_of(settings(sim, tmp_path, batches__open_most="2"), tmp_path) as (_, files, jobs),
    ):
        state = submit(files, jobs, range(200))
        await until(lambda: jobs.get(state.id, "").completed >= 5)
        sim.keys.set([KeyPlan("sk-sim-only", "unpaid")])
        state = await ended(jobs, state)
        assert state.status == "failed"
        assert state.faults[0].code == "credit_balance_exhausted"
        answered = sum(call.status == 200 for call in sim.calls)
        assert len(lines(files, state.output_file_id)) == answered
        await until(lambda: not list((tmp_path / "jobs").glob("*.stanchion")))


async def test_interactive_calls_go_before_the_rows_of_a_batch(tmp_path: Path):
    options = SimulatorOptions(timing=Timing(ttft_s=0.1, ttft_sigma=0.0))
    async with (
        Simulator(options) as sim,
        jobs_of(settings(sim, tmp_path, providers__sim__open_most="1"), tmp_path) as (engine, files, jobs),
    ):
        state = submit(files, jobs, range(60))
        await until(lambda: sim.calls.total)
        asked = {"model": "sim-echo", "messages": [{"role": "user", "content": "now"}]}
        before = sim.calls.total
        async with await engine(json_call(Operation.CHAT, Body(asked))) as reply:
            await reply.read_whole()
        assert sim.calls.total - before <= 3  # sixty rows wait, and this call was answered after two at most
        jobs.cancel(state.id, "")
        assert (await ended(jobs, state)).status == "cancelled"


async def test_only_so_many_batches_are_done_at_once(tmp_path: Path):
    options = SimulatorOptions(timing=Timing(ttft_s=0.2))
    async with (
        Simulator(options) as sim,
        jobs_of(settings(sim, tmp_path, batches__jobs_most="1"), tmp_path) as (_, files, jobs),
    ):
        first, second = submit(files, jobs, range(3)), submit(files, jobs, range(3, 6))
        await until(lambda: jobs.get(first.id, "").status != "validating")
        assert jobs.get(second.id, "").status == "validating"
        assert (await ended(jobs, first)).status == "completed"
        assert (await ended(jobs, second)).status == "completed"
        assert [state.id for state in jobs.of("")] == [second.id, first.id]


async def test_a_caller_that_keeps_too_much_begins_nothing_more(tmp_path: Path):
    async with (
        Simulator() as sim,
        jobs_of(settings(sim, tmp_path), tmp_path, room=400) as (_, files, jobs),
    ):
        first = await ended(jobs, submit(files, jobs, range(2)))
        assert first.status == "completed"
        assert files.room("") <= 0  # what was answered counts, too
        with pytest.raises(LimitReached, match="delete files"):
            submit(files, jobs, [])
        assert first.output_file_id is not None
        for file in files.of(""):
            files.delete(file.id)
        assert (await ended(jobs, submit(files, jobs, range(2)))).status == "completed"


async def test_a_budget_holds_for_the_rows_of_a_batch(tmp_path: Path):
    more = {
        "prices__sim-echo__input": "1000",
        "prices__sim-echo__output": "1000",
        "budgets__all__dollars": "0.1",
        "batches__open_most": "1",
    }
    async with (
        Simulator() as sim,
        jobs_of(settings(sim, tmp_path, **more), tmp_path) as (_, files, jobs),
    ):
        state = await ended(jobs, submit(files, jobs, range(50)))
        assert state.status == "completed"
        spent = sum(call.prompt_tokens + call.completion_tokens for call in sim.calls) / 1000
        assert 0 < spent <= 0.1
        assert state.error_file_id is not None
        assert "budget_exceeded" in files.path(state.error_file_id).read_text("utf-8")
        assert state.completed + state.failed == 50
