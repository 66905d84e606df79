"""The flex lane, and the choice of lanes, against the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from stanchion.batch.lanes.choice import LaneWish, lanes_of, names_of
from stanchion.batch.lanes.flex import FlexLane
from stanchion.batch.lanes.lane import Lane
from stanchion.engine.engine import Engine
from stanchion.engine.spread_outcome import SpreadOptions
from stanchion.simulator import Simulator, SimulatorOptions
from tests.integration.batch_jobs import answers, right, run_job, settings, sync, write_rows


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorOptions()) as running:
        yield running


def lanes(engine: Engine, journal: Path) -> Sequence[Lane]:
    return FlexLane(engine, SpreadOptions(base_s=0.01, attempts=3)), sync(engine)


def outcomes(sim: Simulator) -> tuple[int, int]:
    """How many calls were answered, and how many were refused."""
    calls = [call for call in sim.calls if call.path == "/v1/chat/completions"]
    return sum(call.status == 200 for call in calls), sum(call.status == 429 for call in calls)


async def test_rows_are_answered_in_the_flex_tier(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(50))
    ended = await run_job(sim, tmp_path, lanes)
    assert ended.exit_code == 0
    assert answers(tmp_path) == right(range(50))
    assert '"service_tier":"flex"' in (tmp_path / "out.jsonl").read_text("utf-8")
    assert outcomes(sim) == (50, 0)


async def test_a_row_waits_where_there_is_no_capacity_and_is_then_asked_at_the_standard_price(
    sim: Simulator, tmp_path: Path
):
    write_rows(tmp_path / "in.jsonl", range(5))
    sim.faults.set(["resource_unavailable,tier=flex,times=0"])
    ended = await run_job(sim, tmp_path, lanes)
    assert ended.exit_code == 0
    assert answers(tmp_path) == right(range(5))
    assert '"service_tier":"flex"' not in (tmp_path / "out.jsonl").read_text("utf-8")
    assert outcomes(sim)[0] == 5
    assert outcomes(sim)[1] >= 5  # each was tried in its tier first


async def test_a_provider_without_the_tier_is_asked_at_the_standard_price(sim: Simulator, tmp_path: Path):
    write_rows(tmp_path / "in.jsonl", range(5))
    loaded = settings(sim, tmp_path, providers__sim__flex="false")
    ended = await run_job(sim, tmp_path, lanes, loaded=loaded)
    assert ended.exit_code == 0
    assert '"service_tier":"default"' in (tmp_path / "out.jsonl").read_text("utf-8")


@pytest.mark.parametrize(
    ("wish", "names"),
    [
        (LaneWish("sync", 1e5, "sim-echo"), ("sync",)),
        (LaneWish("batch"), ("batch", "sync")),
        (LaneWish("flex"), ("flex", "sync")),
        (LaneWish("auto", None, "sim-echo"), ("sync",)),
        (LaneWish("auto", 1e5, "sim-echo"), ("batch", "sync")),
        (LaneWish("auto", 60.0, "sim-echo"), ("sync",)),
        (LaneWish("auto", 1e5, "other/model"), ("batch", "sync")),
    ],
)
async def test_lanes_are_chosen_as_asked_or_by_time_and_price(
    sim: Simulator, tmp_path: Path, wish: LaneWish, names: tuple[str, ...]
):
    async with Engine(settings(sim, tmp_path)) as engine:
        assert names_of(engine, wish) == names
        made = lanes_of(engine, tmp_path / "journal", wish, SpreadOptions())
        assert tuple(lane.name for lane in made) == names


async def test_a_model_nobody_serves_leaves_the_sync_lane(sim: Simulator, tmp_path: Path):
    two = {"providers__b__preset": "simulator", "providers__b__models": '["b-*"]'}
    loaded = settings(sim, tmp_path, providers__sim__models='["sim-*"]', **two)
    async with Engine(loaded) as engine:
        assert names_of(engine, LaneWish("auto", 1e5, "nobody")) == ("sync",)
