"""The batch lane when a job is stopped and taken up again, with several keys, and under a cap."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from stanchion.batch.cap import Cap
from stanchion.batch.lanes.choice import LaneWish, lanes_of
from stanchion.batch.lanes.lane import Lane
from stanchion.batch.lanes.provider_batch import BatchLane
from stanchion.batch.lanes.sync import SyncLane
from stanchion.batch.run import Run
from stanchion.engine.config import load
from stanchion.engine.engine import Engine
from stanchion.engine.model_facts import Models
from stanchion.engine.spread_outcome import SpreadOptions
from stanchion.simulator import BatchOptions, Simulator, SimulatorOptions
from tests.integration.batch_jobs import (
    QUICK,
    answers,
    lanes,
    right,
    run_job,
    settings,
    sync,
    write_rows,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorOptions()) as running:
        yield running


def stop_soon(sim: Simulator) -> Callable[[Run], None]:
    """Stop a run a moment after its batch was begun."""
    loop = asyncio.get_running_loop()

    def watch(run: Run) -> None:
        def look() -> None:
            loop.call_later(0.1, run.stop) if sim.batches else loop.call_later(0.01, look)

        look()

    return watch


def holds(folder: Path, *words: bytes) -> bool:
    """Whether any file below holds one of these."""
    return any(word in path.read_bytes() for path in folder.rglob("*") if path.is_file() for word in words)


def paid(sim: Simulator) -> int:
    return sum(call.status == 200 and call.completion_tokens > 0 for call in sim.calls)


async def test_a_job_that_is_stopped_leaves_its_batch_running_and_takes_it_the_next_time(tmp_path: Path):
    async with Simulator(SimulatorOptions(batches=BatchOptions(work_s=2.0))) as sim:
        write_rows(tmp_path / "in.jsonl", range(200))
        ended = await run_job(sim, tmp_path, lanes, watch=stop_soon(sim))
        assert ended.exit_code == 130
        assert [batch.status for batch in sim.batches] == ["in_progress"]
        ended = await run_job(sim, tmp_path, lanes)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(200))
        assert (len(sim.batches), paid(sim)) == (1, 200)


async def test_a_batch_of_which_nobody_heard_is_found_the_next_time(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(50))
    sim.faults.set(["lost,model=batches.create", "503,model=batches.list,times=0"])
    ended = await run_job(sim, tmp_path, lanes, watch=stop_soon(sim))
    assert ended.exit_code == 130
    assert len(sim.batches) == 1
    sim.faults.clear()
    ended = await run_job(sim, tmp_path, lanes)
    assert ended.exit_code == 0
    assert answers(tmp_path) == right(range(50))
    assert (len(sim.batches), paid(sim)) == (1, 50)


async def test_rows_that_were_taken_away_or_added_meanwhile_are_understood(tmp_path: Path):
    async with Simulator(SimulatorOptions(batches=BatchOptions(work_s=2.0))) as sim:
        write_rows(tmp_path / "in.jsonl", range(100))
        await run_job(sim, tmp_path, lanes, watch=stop_soon(sim))
        write_rows(tmp_path / "in.jsonl", range(40, 130))
        ended = await run_job(sim, tmp_path, lanes)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(40, 130))
        assert (len(sim.batches), paid(sim)) == (2, 130)


async def test_the_rest_goes_on_where_a_job_under_other_settings_has_no_batches_any_more(tmp_path: Path):
    async with Simulator(SimulatorOptions(batches=BatchOptions(work_s=2.0))) as sim:
        write_rows(tmp_path / "in.jsonl", range(30))
        await run_job(sim, tmp_path, lanes, watch=stop_soon(sim))
        loaded = settings(sim, tmp_path, providers__sim__batches="false")
        ended = await run_job(sim, tmp_path, lanes, loaded=loaded)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(30))


async def test_several_keys_share_the_parts(tmp_path: Path):
    options = SimulatorOptions(
        keys=("sk-a", "sk-b"), batches=BatchOptions(enqueued_tokens_most=None, work_s=0.2)
    )
    async with Simulator(options) as sim:
        write_rows(tmp_path / "in.jsonl", range(400))
        flags = {
            "providers.sim.preset": "openai",
            "providers.sim.base_url": sim.base_url,
            "providers.sim.models": '["sim-*"]',
            "providers.sim.key_env": '["A_KEY", "B_KEY"]',
            "providers.sim.batch_tokens_most": "4000",
            "stores.directory": str(tmp_path / "state"),
        }
        loaded = load(None, flags=flags, environ={"A_KEY": "sk-a", "B_KEY": "sk-b"})
        ended = await run_job(sim, tmp_path, lanes, loaded=loaded)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(400))
        assert len({call.key_fingerprint for call in sim.calls if call.batch}) == 2
        assert not holds(tmp_path, b"sk-a", b"sk-b")


async def test_a_cap_stops_the_lane_and_is_not_passed(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(200))
    flags = {
        "providers.sim.preset": "compatible",
        "providers.sim.base_url": sim.base_url,
        "providers.sim.models": '["sim-*"]',
        "providers.sim.batches": "true",
        "prices.sim-echo.input": "1000",
        "prices.sim-echo.output": "1000",
        "stores.directory": str(tmp_path / "state"),
    }
    loaded = load(None, flags=flags, environ={})
    cap = Cap(2_000_000, Models(loaded).facts, answer_tokens=20)

    def capped(engine: Engine, journal: Path) -> Sequence[Lane]:
        spread = SpreadOptions(base_s=0.01)
        return BatchLane(engine, journal, QUICK, cap=cap), SyncLane(engine, spread, cap=cap)

    ended = await run_job(sim, tmp_path, capped, loaded=loaded, cap=cap)
    assert ended.exit_code == 3
    assert cap.held == 0
    assert 1_000_000 < ended.facts.spent_micro_usd <= 2_000_000
    used = sum(call.prompt_tokens + call.completion_tokens for call in sim.calls)
    assert ended.facts.spent_micro_usd == used * 1000
    more = Cap(20_000_000, Models(loaded).facts, answer_tokens=20)

    def uncapped(engine: Engine, journal: Path) -> Sequence[Lane]:
        return BatchLane(engine, journal, QUICK, cap=more), sync(engine)

    ended = await run_job(sim, tmp_path, uncapped, loaded=loaded, cap=more)
    assert ended.exit_code == 0
    assert answers(tmp_path) == right(range(200))
    assert paid(sim) == 200


async def test_a_part_that_was_half_written_is_nothing(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(20))
    parts = tmp_path / "out.jsonl.stanchion" / "parts"
    parts.mkdir(parents=True)
    (parts / "abc.form").write_bytes(b"--half")
    (parts / "abc.rows").write_bytes(b"\0" * 36)
    facts = {"id": "new", "place": "sim/sim-echo", "operation": "chat/completions", "asked": "sim-echo"}
    old = {**facts, "id": "old", "boundary": "b"}
    (parts / "new.json").write_text(json.dumps({**facts, "boundary": "b", "replaces": "old"}))
    for name in ("old", "new"):
        (parts / f"{name}.form").write_bytes(b"")
        (parts / f"{name}.rows").write_bytes(b"")
    (parts / "old.json").write_text(json.dumps(old))
    ended = await run_job(sim, tmp_path, lanes)
    assert ended.exit_code == 0
    assert answers(tmp_path) == right(range(20))
    assert not list(parts.iterdir())


async def test_what_was_sent_is_waited_for_whichever_lane_is_wanted_then(tmp_path: Path):
    async with Simulator(SimulatorOptions(batches=BatchOptions(work_s=2.0))) as sim:
        write_rows(tmp_path / "in.jsonl", range(60))
        await run_job(sim, tmp_path, lanes, watch=stop_soon(sim))
        write_rows(tmp_path / "in.jsonl", range(80))

        def chosen(engine: Engine, journal: Path) -> Sequence[Lane]:
            made = lanes_of(engine, journal, LaneWish("sync", batch=QUICK), SpreadOptions())
            assert [lane.name for lane in made] == ["batch", "sync"]
            return made

        ended = await run_job(sim, tmp_path, chosen)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(80))
        assert (len(sim.batches), paid(sim)) == (1, 80)
        assert sum(call.batch == "" for call in sim.calls if call.path == "/v1/chat/completions") == 20
