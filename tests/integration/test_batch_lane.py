"""The batch lane against the simulator's Batch API, with each of its unpleasant endings."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from stanchion.batch.lanes.lane import Lane
from stanchion.batch.lanes.part_run import BatchLaneOptions
from stanchion.batch.lanes.provider_batch import BatchLane
from stanchion.engine.engine import Engine
from stanchion.simulator import BatchOptions, Simulator, SimulatorOptions
from tests.integration.batch_jobs import (
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


def in_batches(sim: Simulator) -> int:
    return sum(call.batch != "" and call.status == 200 for call in sim.calls)


def alone(sim: Simulator) -> int:
    return sum(
        call.batch == "" and call.status == 200 and call.path == "/v1/chat/completions" for call in sim.calls
    )


async def test_all_rows_go_into_one_batch_and_come_back_in_order(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(3000))
    sim.batch_faults.set(["shuffle"])
    ended = await run_job(sim, tmp_path, lanes)
    assert ended.exit_code == 0
    found = answers(tmp_path)
    assert list(found) == [f"row-{n}" for n in range(3000)]
    assert found == right(range(3000))
    assert (in_batches(sim), alone(sim), len(sim.batches)) == (3000, 0, 1)
    assert not list((tmp_path / "out.jsonl.stanchion" / "parts").iterdir())
    assert ended.facts.prompt_tokens > 0


async def test_a_row_that_asks_what_one_of_thousands_that_wait_asks_is_not_sent_again(
    sim: Simulator, tmp_path: Path
):
    write_rows(tmp_path / "in.jsonl", [*range(5000), *range(0, 5000, 100)])
    ended = await run_job(sim, tmp_path, lanes)
    assert (ended.exit_code, ended.rows, ended.facts.twins) == (0, 5050, 50)
    assert answers(tmp_path) == right(range(5000))
    assert (in_batches(sim), alone(sim)) == (5000, 0)


async def test_a_part_has_no_more_rows_and_tokens_than_a_batch_takes(tmp_path: Path):
    options = SimulatorOptions(batches=BatchOptions(enqueued_tokens_most=4000, work_s=0.02))
    async with Simulator(options) as sim:
        write_rows(tmp_path / "in.jsonl", range(500))
        loaded = settings(sim, tmp_path, providers__sim__batch_tokens_most="4000")
        ended = await run_job(sim, tmp_path, lanes, loaded=loaded)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(500))
        assert len(sim.batches) >= 4
        assert {batch.status for batch in sim.batches} == {"completed"}
        assert alone(sim) == 0


async def test_the_limit_of_waiting_tokens_is_learnt_and_the_part_divided(tmp_path: Path):
    options = SimulatorOptions(batches=BatchOptions(enqueued_tokens_most=600))
    async with Simulator(options) as sim:
        write_rows(tmp_path / "in.jsonl", range(400))
        ended = await run_job(sim, tmp_path, lanes)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(400))
        done = [batch for batch in sim.batches if batch.status == "completed"]
        assert len(done) >= 4
        assert (in_batches(sim), alone(sim)) == (400, 0)


@pytest.mark.parametrize(
    ("fault", "batched"),
    [
        ("no_output", 0),
        ("rows:0.3", None),
        ("missing:0.3", None),
        ("doubled", 300),
        ("cancelled:0.5", 150),
        ("slow_end:0.2", 300),
        ("fail:other_reason", 0),
    ],
)
async def test_what_a_batch_does_not_answer_is_asked_alone(
    sim: Simulator, tmp_path: Path, fault: str, batched: int | None
):
    write_rows(tmp_path / "in.jsonl", range(300))
    sim.batch_faults.set([fault])
    ended = await run_job(sim, tmp_path, lanes)
    assert ended.exit_code == 0
    assert answers(tmp_path) == right(range(300))
    if batched is not None:
        assert in_batches(sim) == batched
        assert alone(sim) == 300 - batched
    else:
        assert 40 < alone(sim) < 160


async def test_an_expired_batch_counts_and_the_rest_is_asked_alone(tmp_path: Path):
    options = SimulatorOptions(batches=BatchOptions(window_s=0.3), batch_faults=("expire:0.4",))
    async with Simulator(options) as sim:
        write_rows(tmp_path / "in.jsonl", range(200))
        ended = await run_job(sim, tmp_path, lanes)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(200))
        assert (in_batches(sim), alone(sim)) == (80, 120)


async def test_with_time_until_the_deadline_the_rest_goes_into_another_batch(tmp_path: Path):
    options = SimulatorOptions(batches=BatchOptions(window_s=0.3), batch_faults=("expire:0.5",))

    def patient(engine: Engine, journal: Path) -> Sequence[Lane]:
        until = BatchLaneOptions(
            poll_s=0.02, poll_most_s=0.05, deadline_at=time.time() + 3600, rescue_s=60, window_s=0.3
        )
        return BatchLane(engine, journal, until), sync(engine)

    async with Simulator(options) as sim:
        write_rows(tmp_path / "in.jsonl", range(100))
        ended = await run_job(sim, tmp_path, patient)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(100))
        assert (in_batches(sim), alone(sim), len(sim.batches)) == (100, 0, 2)


async def test_when_the_deadline_nears_a_stuck_batch_is_ended_and_the_rest_asked_alone(tmp_path: Path):
    options = SimulatorOptions(batches=BatchOptions(work_s=60))

    def hurried(engine: Engine, journal: Path) -> Sequence[Lane]:
        until = BatchLaneOptions(poll_s=0.02, poll_most_s=5, deadline_at=time.time() + 60.5, rescue_s=60)
        return BatchLane(engine, journal, until), sync(engine)

    async with Simulator(options) as sim:
        write_rows(tmp_path / "in.jsonl", range(100))
        ended = await run_job(sim, tmp_path, hurried)
        assert ended.exit_code == 0
        assert answers(tmp_path) == right(range(100))
        assert [batch.status for batch in sim.batches] == ["cancelled"]
        assert in_batches(sim) + alone(sim) == 100  # what the batch had done was taken


async def test_a_line_that_the_provider_does_not_take_costs_no_other_row_the_price(
    sim: Simulator, tmp_path: Path
):
    write_rows(tmp_path / "in.jsonl", range(50))
    bad = '{"custom_id":"bad","url":"/v1/chat/completions","body":{"model":"sim-echo","messages":7}}\n'
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write(bad)
    ended = await run_job(sim, tmp_path, lanes)
    assert ended.exit_code == 2
    assert ended.rows_failed == 1
    assert answers(tmp_path) == right(range(50))
    assert (in_batches(sim), alone(sim)) == (50, 0)


async def test_calls_that_fail_are_made_again_and_a_lost_creation_is_found(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(100))
    sim.faults.set(
        [
            "reset,model=files.create",
            "lost,model=files.create",
            "lost,model=batches.create",
            "503,model=batches.list",
            "503,model=batches.get,times=2",
            "html,model=batches.get",
            "cut_bytes:500,end=abort,model=files.content",
            "500,model=files.content",
        ]
    )
    ended = await run_job(sim, tmp_path, lanes)
    assert ended.exit_code == 0
    assert answers(tmp_path) == right(range(100))
    assert (in_batches(sim), alone(sim), len(sim.batches)) == (100, 0, 1)
    assert not sim.faults.pending()


async def test_rows_for_which_there_is_no_batch_go_to_the_next_lane(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(20))
    loaded = settings(sim, tmp_path, providers__sim__batches="false")
    ended = await run_job(sim, tmp_path, lanes, loaded=loaded)
    assert ended.exit_code == 0
    assert (in_batches(sim), alone(sim)) == (0, 20)


async def test_a_provider_that_refuses_batches_answers_each_row_alone(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(20))
    sim.faults.set(["403,model=batches.create,times=0"])
    ended = await run_job(sim, tmp_path, lanes)
    assert ended.exit_code == 0
    assert (in_batches(sim), alone(sim)) == (0, 20)


async def test_a_route_is_batched_under_the_models_own_name_and_given_back_under_the_routes(
    sim: Simulator, tmp_path: Path
):
    write_rows(tmp_path / "in.jsonl", range(20), model="cheap")
    loaded = settings(sim, tmp_path, routes__cheap__balance='["sim/sim-echo"]')
    sim.batch_faults.set(["rows:0.5"])
    ended = await run_job(sim, tmp_path, lanes, loaded=loaded)
    assert ended.exit_code == 0
    assert answers(tmp_path) == right(range(20))
    assert {batch.checked.model for batch in sim.batches} == {"sim-echo"}
    assert 0 < alone(sim) < 20


async def test_answers_of_a_batch_are_booked_at_the_price_of_batches(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(10))
    flags = {
        "prices__sim-echo__input": "1000",
        "prices__sim-echo__output": "3000",
        "stores__ledger": f"sqlite://{tmp_path}/ledger.db",
    }
    loaded = settings(sim, tmp_path, **flags)
    ended = await run_job(sim, tmp_path, lanes, loaded=loaded)
    prompt = sum(call.prompt_tokens for call in sim.calls if call.batch)
    output = sum(call.completion_tokens for call in sim.calls if call.batch)
    assert ended.facts.spent_micro_usd == prompt * 500 + output * 1500
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        tables = [name for (name,) in ledger.execute("select name from sqlite_master where type='table'")]
        booked = [row for name in tables for row in ledger.execute(f"select * from {name}")]
    assert sum("batch" in row for row in booked) >= 10
