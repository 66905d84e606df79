"""Files and batches at a provider, over real sockets."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stanchion.core.clock import Clock
from stanchion.core.errors import Cut, Refused, Silent, Unusable
from stanchion.providers.batch_api import BatchApi
from stanchion.providers.http import HttpClient, HttpOptions
from stanchion.providers.openai import EndpointSpec
from stanchion.providers.presets import PRESETS
from stanchion.simulator import Simulator, SimulatorOptions
from stanchion.wire.batch import BatchObject, form_head, form_tail, read_line, write_line


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorOptions()) as running:
        yield running


@pytest.fixture
async def api(sim: Simulator) -> AsyncIterator[BatchApi]:
    clock = Clock()
    http = HttpClient(HttpOptions(), clock)
    spec = EndpointSpec(
        name="sim/sim-echo",
        base_url=sim.base_url,
        model="sim-echo",
        key=None,
        preset=PRESETS["simulator"],
    )
    try:
        yield BatchApi(spec, http, clock)
    finally:
        await http.aclose()


def body(number: int) -> bytes:
    return b'{"model":"sim-echo",\n"messages":[{"role":"user","content":"n%d"}]}' % number


def form_of(folder: Path, rows: int) -> tuple[Path, str]:
    boundary = "a-boundary-that-occurs-nowhere"
    lines = b"".join(write_line(f"k{n}", "/v1/chat/completions", body(n)) for n in range(rows))
    path = folder / "part.form"
    path.write_bytes(form_head(boundary, "part.jsonl") + lines + form_tail(boundary))
    return path, boundary


async def ended(api: BatchApi, batch: BatchObject) -> BatchObject:
    while not batch.ended:
        await asyncio.sleep(0.01)
        batch = await api.get(batch.id)
    return batch


async def test_a_file_goes_up_a_batch_is_made_and_its_output_comes_down(
    api: BatchApi, sim: Simulator, tmp_path: Path
):
    path, boundary = form_of(tmp_path, 5000)
    file_id = await api.upload(path, boundary)
    batch = await api.create(file_id, "/v1/chat/completions", {"stanchion_part": "p1"})
    batch = await ended(api, batch)
    assert batch.status == "completed"
    assert batch.output_file_id is not None
    out = io.BytesIO()
    await api.download(batch.output_file_id, out)
    lines = [read_line(line) for line in out.getvalue().splitlines()]
    assert {line.custom_id for line in lines} == {f"k{n}" for n in range(5000)}
    assert all(line.response is not None and line.response.status_code == 200 for line in lines)
    found = await api.page()
    assert [(each.id, dict(each.metadata or {})) for each in found.data] == [
        (batch.id, {"stanchion_part": "p1"})
    ]
    await api.delete(batch.output_file_id)
    with pytest.raises(Refused) as gone:
        await api.download(batch.output_file_id, out)
    assert gone.value.status == 404
    assert sim.open_connections <= 1


async def test_a_download_that_breaks_off_is_told_even_where_it_looks_complete(
    api: BatchApi, sim: Simulator, tmp_path: Path
):
    path, boundary = form_of(tmp_path, 50)
    batch = await ended(api, await api.create(await api.upload(path, boundary), "/v1/chat/completions", {}))
    assert batch.output_file_id is not None
    for fault in ("cut_bytes:300,end=abort", "cut_bytes:300,end=reset"):
        sim.faults.set([f"{fault},model=files.content"])
        with pytest.raises(Cut):
            await api.download(batch.output_file_id, io.BytesIO())


async def test_what_goes_wrong_with_a_call_is_an_error_that_states_facts(
    api: BatchApi, sim: Simulator, tmp_path: Path
):
    path, boundary = form_of(tmp_path, 3)
    sim.faults.set(["reset,model=files.create", "503,model=batches.get", "html,model=batches.list"])
    with pytest.raises(Silent):
        await api.upload(path, boundary)
    with pytest.raises(Refused) as refused:
        await api.get("batch_x")
    assert refused.value.retryable
    with pytest.raises(Unusable, match="not of the Batch API"):
        await api.page()
