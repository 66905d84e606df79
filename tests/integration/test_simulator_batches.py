"""The simulator's /v1/files and /v1/batches on a real socket, as the official SDK sees them."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI
from openai.types import Batch

from stanchion.simulator import BatchOptions, Simulator, SimulatorOptions
from stanchion.simulator.batch_options import BatchFault


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorOptions(batches=BatchOptions(requests_most=300))) as running:
        yield running


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=sim.base_url, api_key="sk-secret", max_retries=0) as made:
        yield made


def line(number: int, **changes: Any) -> dict[str, Any]:
    body = {"model": "sim-echo", "messages": [{"role": "user", "content": f"say {number}"}]}
    whole = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return {**whole, **changes}


def file_of(lines: Sequence[dict[str, Any] | str]) -> tuple[str, bytes]:
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    return "in.jsonl", (text + "\n").encode()


async def submit(
    client: AsyncOpenAI, lines: Sequence[dict[str, Any] | str], metadata: dict[str, str] | None = None
) -> Batch:
    file = await client.files.create(file=file_of(lines), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata=metadata,
    )


async def ended(client: AsyncOpenAI, batch: Batch) -> Batch:
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        await asyncio.sleep(0.01)
        batch = await client.batches.retrieve(batch.id)
    return batch


async def lines_of(client: AsyncOpenAI, name: str | None) -> list[dict[str, Any]]:
    assert name is not None
    content = await client.files.content(name)
    return [json.loads(each) for each in content.text.splitlines()]


async def test_a_batch_is_done_from_its_upload_to_its_download(client: AsyncOpenAI):
    batch = await ended(client, await submit(client, [line(n) for n in range(120)], {"job": "j1"}))
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed) == (120, 120)
    assert batch.error_file_id is None
    assert batch.metadata == {"job": "j1"}
    assert batch.model == "sim-echo"
    out = await lines_of(client, batch.output_file_id)
    assert {each["custom_id"] for each in out} == {f"row-{n}" for n in range(120)}
    first = next(each for each in out if each["custom_id"] == "row-7")
    assert first["error"] is None
    assert first["response"]["status_code"] == 200
    assert first["response"]["body"]["choices"][0]["message"]["content"] == "say 7"
    assert batch.usage is not None
    assert batch.usage.total_tokens == sum(each["response"]["body"]["usage"]["total_tokens"] for each in out)


async def test_rows_of_batches_stand_in_the_log_of_calls_and_cost_no_quota(
    client: AsyncOpenAI, sim: Simulator
):
    batch = await ended(client, await submit(client, [line(n) for n in range(9)]))
    rows = [call for call in sim.calls if call.batch == batch.id]
    assert len(rows) == 9
    assert all(call.charge == 0 and call.completion_tokens > 0 for call in rows)


@pytest.mark.parametrize(
    ("lines", "code", "at"),
    [
        ([line(1), "{no json"], "invalid_json_line", 2),
        ([line(1), line(2), line(1)], "duplicate_custom_id", 3),
        ([line(1), line(2, url="/v1/embeddings")], "mismatched_url", 2),
        ([line(1), line(2, method="GET")], "invalid_method", 2),
        ([line(1), line(2, body={"model": "gpt-4o", "messages": []})], "mismatched_model", 2),
        ([line(1), {"custom_id": "x"}], "missing_required_parameter", 2),
        ([line(1), line(2, body={"messages": 5})], "invalid_request", 2),
        (["", "  "], "empty_file", None),
        ([line(n) for n in range(301)], "too_many_tasks", None),
    ],
)
async def test_a_file_with_a_fault_fails_as_a_whole(
    client: AsyncOpenAI, sim: Simulator, lines: list[Any], code: str, at: int | None
):
    batch = await ended(client, await submit(client, lines))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == (code, at)
    assert not any(call.batch for call in sim.calls)


async def test_a_file_larger_than_the_limit_fails():
    async with (
        Simulator(SimulatorOptions(batches=BatchOptions(file_most_bytes=500))) as sim,
        AsyncOpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client,
    ):
        batch = await ended(client, await submit(client, [line(n) for n in range(9)]))
        assert batch.errors is not None
        assert batch.errors.data
        assert batch.errors.data[0].code == "file_too_large"


async def test_more_waiting_tokens_than_allowed_fail_the_batch_until_others_end():
    options = SimulatorOptions(batches=BatchOptions(enqueued_tokens_most=60, work_s=0.3))
    async with (
        Simulator(options) as sim,
        AsyncOpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client,
    ):
        first = await submit(client, [line(n) for n in range(10)])
        second = await ended(client, await submit(client, [line(n) for n in range(10, 20)]))
        assert second.status == "failed"
        assert second.errors is not None
        assert second.errors.data
        assert second.errors.data[0].code == "token_limit_exceeded"
        assert "Limit: 60 enqueued tokens" in (second.errors.data[0].message or "")
        assert (await ended(client, first)).status == "completed"
        third = await ended(client, await submit(client, [line(n) for n in range(10, 20)]))
        assert third.status == "completed"


async def test_an_expired_batch_has_what_was_done_and_says_what_was_not(sim: Simulator):
    options = SimulatorOptions(batches=BatchOptions(window_s=0.2), batch_faults=("expire:0.25",))
    async with (
        Simulator(options) as sim,
        AsyncOpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client,
    ):
        batch = await ended(client, await submit(client, [line(n) for n in range(100)]))
        assert batch.status == "expired"
        assert len(await lines_of(client, batch.output_file_id)) == 25
        told = await lines_of(client, batch.error_file_id)
        assert len(told) == 75
        assert told[0]["response"] is None
        assert told[0]["error"]["code"] == "batch_expired"


async def test_a_stuck_batch_is_in_progress_until_its_window_ends():
    options = SimulatorOptions(batches=BatchOptions(window_s=0.2), batch_faults=("stuck",))
    async with (
        Simulator(options) as sim,
        AsyncOpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client,
    ):
        batch = await submit(client, [line(1)])
        await asyncio.sleep(0.05)
        assert (await client.batches.retrieve(batch.id)).status == "in_progress"
        batch = await ended(client, batch)
        assert (batch.status, batch.output_file_id) == ("expired", None)


async def test_a_cancelled_batch_keeps_what_was_done(client: AsyncOpenAI, sim: Simulator):
    sim.batch_faults.set(["cancelled:0.5"])
    batch = await ended(client, await submit(client, [line(n) for n in range(50)]))
    assert batch.status == "cancelled"
    assert len(await lines_of(client, batch.output_file_id)) == 25
    assert batch.error_file_id is None


async def test_a_batch_can_be_cancelled_while_it_runs_and_not_after():
    options = SimulatorOptions(batches=BatchOptions(work_s=60, cancel_s=0.05))
    async with (
        Simulator(options) as sim,
        AsyncOpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client,
    ):
        batch = await submit(client, [line(n) for n in range(200)])
        await asyncio.sleep(0.05)
        batch = await client.batches.cancel(batch.id)
        assert batch.status == "cancelling"
        batch = await ended(client, batch)
        assert batch.status == "cancelled"
        with pytest.raises(openai.BadRequestError, match="status 'cancelled'"):
            await client.batches.cancel(batch.id)


async def test_a_batch_can_complete_without_an_output_file(client: AsyncOpenAI, sim: Simulator):
    sim.batch_faults.set(["no_output"])
    batch = await ended(client, await submit(client, [line(n) for n in range(3)]))
    assert (batch.status, batch.output_file_id) == ("completed", None)
    told = await lines_of(client, batch.error_file_id)
    assert [each["response"]["status_code"] for each in told] == [500, 500, 500]
    assert told[0]["error"] is None
    assert told[0]["response"]["body"]["error"]["type"] == "server_error"


async def test_output_can_be_shuffled_doubled_short_or_part_wrong(client: AsyncOpenAI, sim: Simulator):
    lines = [line(n) for n in range(60)]
    names = [each["custom_id"] for each in lines]
    sim.batch_faults.set(["shuffle", "doubled", "missing:0.3", "rows:0.3,status=429"])
    batches = [await ended(client, await submit(client, lines)) for _ in range(4)]
    found = [await lines_of(client, batch.output_file_id) for batch in batches]
    shuffled, doubled, short, part = ([each["custom_id"] for each in out] for out in found)
    assert sorted(shuffled) == sorted(names)
    assert shuffled != names
    assert doubled == names * 2
    assert 20 < len(short) < 55
    assert 20 < len(part) < 55
    counts = batches[-1].request_counts
    assert counts is not None
    assert counts.failed == 60 - len(part)


async def test_batches_and_files_are_listed_in_pages_and_deleted(client: AsyncOpenAI):
    made = [await submit(client, [line(n)], {"part": str(n)}) for n in range(5)]
    page = await client.batches.list(limit=2)
    assert [each.id for each in page.data] == [made[4].id, made[3].id]
    assert page.has_more
    assert [each.id async for each in client.batches.list(limit=2)] == [each.id for each in reversed(made)]
    names = [each.id async for each in client.files.list(limit=2, purpose="batch")]
    assert names == [each.input_file_id for each in reversed(made)]
    gone = await client.files.delete(names[0])
    assert gone.deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        await client.files.retrieve(names[0])
    with pytest.raises(openai.NotFoundError, match="No batch found"):
        await client.batches.retrieve("batch_x")


async def test_what_cannot_be_a_batch_is_refused_at_once(client: AsyncOpenAI):
    with pytest.raises(openai.BadRequestError, match="jsonl"):
        await client.files.create(file=("in.txt", b"x"), purpose="batch")
    other = await client.files.create(file=("in.txt", b"x"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        await client.batches.create(
            input_file_id=other.id, endpoint="/v1/embeddings", completion_window="24h"
        )
    wrong: Any = "1h"
    with pytest.raises(openai.BadRequestError, match="24h"):
        await client.batches.create(
            input_file_id=other.id, endpoint="/v1/embeddings", completion_window=wrong
        )


async def test_single_calls_meet_the_faults_that_name_them(client: AsyncOpenAI, sim: Simulator):
    sim.faults.set(
        [
            "503,model=batches.get",
            "lost,model=batches.create",
            "cut_bytes:40,end=abort,model=files.content",
            "500",
        ]
    )
    with pytest.raises(openai.APIConnectionError):
        await submit(client, [line(n) for n in range(3)])
    batch = (await client.batches.list()).data[0]  # it was created although nobody was told
    with pytest.raises(openai.InternalServerError):
        await client.batches.retrieve(batch.id)
    batch = await ended(client, batch)
    assert batch.output_file_id is not None
    with pytest.raises(openai.APIConnectionError):
        await client.files.content(batch.output_file_id)
    assert len(await lines_of(client, batch.output_file_id)) == 3
    assert [fault.name for fault in sim.faults.pending()] == ["status"]  # the one for calls of models is left


async def test_a_large_upload_comes_through_and_a_broken_one_is_refused(client: AsyncOpenAI, sim: Simulator):
    content = b"\r\n--not-the-boundary\r\n" * 4_000_000  # 88 MB, with what looks like a boundary
    file = await client.files.create(file=("big.bin", io.BytesIO(content)), purpose="user_data")
    assert file.bytes == len(content)
    async with aiohttp.ClientSession() as session:
        head = {"content-type": "multipart/form-data; boundary=b"}
        for body in (b"", b"--b\r\n", b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\nabc'):
            async with session.post(f"{sim.base_url}/files", data=body, headers=head) as answer:
                assert answer.status == 400


async def test_batch_faults_can_be_set_while_it_runs(client: AsyncOpenAI, sim: Simulator):
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{sim.origin}/_sim/batches", json=["fail:token_limit_exceeded"]) as answer:
            assert answer.status == 200
        batch = await ended(client, await submit(client, [line(1)]))
        assert batch.status == "failed"
        async with session.get(f"{sim.origin}/_sim/batches") as answer:
            assert [each["id"] for each in (await answer.json())["batches"]] == [batch.id]
        async with session.put(f"{sim.origin}/_sim/batches", json=["nonsense"]) as answer:
            assert answer.status == 400


@pytest.mark.parametrize("text", ["nonsense", "expire:2", "rows:0.5,what=1", "stuck:1"])
def test_a_batch_fault_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="batch fault"):
        BatchFault.parse(text)


async def test_a_call_of_the_flex_tier_says_so_and_meets_the_faults_of_that_tier(
    client: AsyncOpenAI, sim: Simulator
):
    sim.faults.set(["resource_unavailable,tier=flex"])
    asked: Any = {"model": "sim-echo", "messages": [{"role": "user", "content": "hello"}]}
    plain = await client.chat.completions.create(**asked)
    assert plain.service_tier == "default"
    with pytest.raises(openai.RateLimitError) as refused:
        await client.chat.completions.create(**asked, service_tier="flex")
    assert refused.value.code == "resource_unavailable"
    assert (await client.chat.completions.create(**asked, service_tier="flex")).service_tier == "flex"
