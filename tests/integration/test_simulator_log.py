"""What the simulator can be asked and told while it runs: its log, its faults, what is open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from openai import APIError, AsyncOpenAI

from stanchion.simulator import PortTaken, Simulator, SimulatorOptions, Timing
from tests.integration.raw_http import ASKED, Wire, ask, request, settled


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=sim.base_url, api_key="sk-secret", max_retries=0) as made:
        yield made


async def test_the_log_tells_what_arrived_and_never_the_key(sim: Simulator, client: AsyncOpenAI):
    await client.chat.completions.create(
        model="gpt-4o", messages=ASKED, extra_headers={"Idempotency-Key": "once", "x-stanchion-call": "c1"}
    )
    await client.chat.completions.create(model="gpt-4o", messages=ASKED)
    status, answer = await ask(sim, "GET", "/_sim/calls")
    first, second = answer["calls"]
    assert status == 200
    assert (first["idempotency_key"], first["headers"]["x-stanchion-call"]) == ("once", "c1")
    assert first["headers"]["x-stainless-retry-count"] == "0"
    assert first["key_fingerprint"] == second["key_fingerprint"] != "sk-secret"
    assert "sk-secret" not in json.dumps(answer)
    assert "waiting for a week" not in json.dumps(answer)
    assert (await ask(sim, "GET", f"/_sim/calls?since={first['id']}"))[1]["calls"] == [second]
    await ask(sim, "DELETE", "/_sim/calls")
    assert len(sim.calls) == 0


async def test_faults_can_be_set_while_it_runs(sim: Simulator, client: AsyncOpenAI):
    status, answer = await ask(sim, "PUT", "/_sim/faults", ["503", {"name": "cut", "after": 1, "model": "b"}])
    assert (status, len(answer["faults"])) == (200, 2)
    with pytest.raises(APIError):
        await client.chat.completions.create(model="a", messages=ASKED)
    assert len((await ask(sim, "GET", "/_sim/faults"))[1]["faults"]) == 1
    status, answer = await ask(sim, "PUT", "/_sim/faults", {"faults": ["nonsense"]})
    assert status == 400
    assert "nonsense" in answer["error"]["message"]
    sim.faults.set(["html"])
    assert "<html>" in str(await client.chat.completions.create(model="a", messages=ASKED))
    await ask(sim, "DELETE", "/_sim/faults")
    status, answer = await ask(sim, "PUT", "/_sim/keys", [{"key": "sk-secret", "state": "revoked"}])
    assert (status, [each["state"] for each in answer["keys"]]) == (200, ["revoked"])
    assert "sk-secret" not in str(answer)
    status, answer = await ask(sim, "PUT", "/_sim/keys", {"keys": [{"key": "sk-secret", "state": "lost"}]})
    assert status == 400
    assert "sk-secret" not in str(answer)
    assert (await ask(sim, "DELETE", "/_sim/keys"))[1] == {"keys": []}
    assert sim.faults.pending() == []


async def test_what_is_open_is_counted_and_ends_with_the_simulator():
    async with Simulator() as sim:
        wire = await Wire.open(sim)
        wire.writer.write(request("fault-stall-1", stream=True))
        await wire.head()
        _, answer = await ask(sim, "GET", "/_sim/open")
        assert answer == {"connections": 2, "streams": 1}
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await wire.reader.readexactly(100_000)
    assert (sim.open_streams, sim.open_connections) == (0, 0)
    wire.writer.close()


async def test_a_paced_stream_takes_its_time_and_a_client_that_leaves_ends_it():
    timing = Timing(ttft_s=0.05, ttft_sigma=0, tokens_per_s=400, tokens_per_s_sigma=0)
    async with (
        Simulator(SimulatorOptions(timing=timing)) as sim,
        AsyncOpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        stream = await client.chat.completions.create(model="sim-long-40", messages=ASKED, stream=True)
        assert len([chunk async for chunk in stream]) == 42
        assert loop.time() - began > 0.1
        stream = await client.chat.completions.create(model="sim-long-5000", messages=ASKED, stream=True)
        await anext(aiter(stream))
        await stream.close()
        await settled(lambda: sim.open_streams == 0)
    assert sim.calls[-1].client_left_at is not None
    assert 0 < sim.calls[-1].events_sent < 5000
    assert sim.calls[-1].completion_tokens == sim.calls[-1].events_sent


async def test_a_client_that_does_not_read_pauses_its_stream(sim: Simulator):
    wire = await Wire.open(sim)
    wire.writer.write(request("sim-long-100000", stream=True))
    await wire.head()
    await asyncio.sleep(0.1)
    stuck = sim.calls[-1].events_sent
    assert stuck < 100_000
    events, terminated = await wire.chunks()
    assert (len(events), terminated) == (100_003, True)
    wire.writer.close()


async def test_a_taken_port_is_a_clear_error(sim: Simulator):
    with pytest.raises(PortTaken, match=str(sim.port)):
        await Simulator(SimulatorOptions(port=sim.port)).start()
