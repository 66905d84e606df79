"""/v1/files and /v1/batches of `stanchion serve`: the unchanged SDK, callers who see their own alone, a restart."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from tests.acceptance.served import Served, run, wait_for


def line(number: int, model: str = "sim-echo", **changes: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": f"say {number}"}]}
    return {
        "custom_id": f"row-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
        **changes,
    }


def file_of(lines: Sequence[dict[str, Any]]) -> tuple[str, bytes]:
    return "in.jsonl", b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def submit(sdk: OpenAI, lines: Sequence[dict[str, Any]], **more: Any) -> Batch:
    file = sdk.files.create(file=file_of(lines), purpose="batch")
    return sdk.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more
    )


def ended(sdk: OpenAI, batch: Batch) -> Batch:
    found = [batch]

    def over() -> bool:
        found[0] = sdk.batches.retrieve(batch.id)
        return found[0].status in ("completed", "failed", "expired", "cancelled")

    wait_for(over, 60.0)
    return found[0]


def said(sdk: OpenAI, name: str | None) -> dict[str, str]:
    assert name is not None
    lines = [json.loads(each) for each in sdk.files.content(name).text.splitlines()]
    return {each["custom_id"]: each["response"]["body"]["choices"][0]["message"]["content"] for each in lines}


def client(served: Served, key: str = "any") -> OpenAI:
    return OpenAI(base_url=f"{served.origin}/v1", api_key=key, max_retries=0)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as running:
        yield running


def test_the_sdk_gives_a_batch_and_reads_its_answers(served: Served):
    with client(served) as sdk:
        batch = submit(sdk, [line(n) for n in range(300)], metadata={"job": "j"})
        assert batch.status in ("validating", "in_progress")
        batch = ended(sdk, batch)
        assert (batch.status, batch.metadata) == ("completed", {"job": "j"})
        assert batch.request_counts is not None
        assert (batch.request_counts.total, batch.request_counts.completed) == (300, 300)
        assert batch.usage is not None
        assert batch.usage.total_tokens > 300
        assert said(sdk, batch.output_file_id) == {f"row-{n}": f"say {n}" for n in range(300)}
        assert batch.error_file_id is None
        assert [each.id for each in sdk.batches.list()] == [batch.id]
        names = {each.filename for each in sdk.files.list()}
        assert names == {"in.jsonl", f"{batch.id}_output.jsonl"}
        assert batch.output_file_id is not None
        assert sdk.files.delete(batch.output_file_id).deleted
        with pytest.raises(openai.NotFoundError):
            sdk.files.retrieve(batch.output_file_id)


def test_what_failed_stands_in_the_file_of_errors(served: Served):
    with client(served) as sdk:
        wrong = line(2, body={"model": "sim-echo", "messages": 7})
        batch = ended(sdk, submit(sdk, [line(1), wrong]))
        assert batch.status == "completed"
        assert said(sdk, batch.output_file_id) == {"row-1": "say 1"}
        assert batch.error_file_id is not None
        told = json.loads(sdk.files.content(batch.error_file_id).text)
        assert (told["custom_id"], told["response"]["status_code"]) == ("row-2", 400)


@pytest.mark.parametrize(
    ("lines", "code", "at"),
    [
        ([line(1), line(1)], "duplicate_custom_id", 2),
        ([line(1), line(2, url="/v1/embeddings")], "mismatched_url", 2),
        ([line(1), {"custom_id": "x"}], "invalid_request", 2),
        ([line(1, body={"model": "m", "stream": True})], "invalid_request", 1),
    ],
)
def test_a_file_with_a_bad_line_is_not_begun(served: Served, lines: list[dict[str, Any]], code: str, at: int):
    with client(served) as sdk:
        batch = ended(sdk, submit(sdk, lines))
        assert batch.status == "failed"
        assert batch.errors is not None
        assert batch.errors.data
        assert (batch.errors.data[0].code, batch.errors.data[0].line) == (code, at)


def test_what_is_no_file_and_no_batch_is_refused_with_words(tmp_path: Path):
    with (
        Served(tmp_path, "--set", "batches.file_most_bytes=300000") as served,
        client(served) as sdk,
    ):
        with pytest.raises(openai.APIStatusError, match="larger than") as large:
            sdk.files.create(file=("in.jsonl", b"x" * 5_000_000), purpose="batch")
        assert large.value.status_code == 413
        with pytest.raises(openai.BadRequestError, match="purpose"):
            sdk.files.create(file=("in.jsonl", b"x"), purpose="vision")
        with pytest.raises(openai.NotFoundError, match="no such file"):
            sdk.batches.create(
                input_file_id="file-none", endpoint="/v1/chat/completions", completion_window="24h"
            )
        with pytest.raises(openai.NotFoundError, match="no such batch"):
            sdk.batches.cancel("batch_none")


def test_a_batch_is_cancelled_and_what_was_answered_is_there(tmp_path: Path):
    slow = ("--set", "batches.open_most=1", "--set", "batches.caller_jobs_most=1")
    with Served(tmp_path, *slow) as served, client(served) as sdk:
        batch = submit(sdk, [line(n, "sim-long-40") for n in range(100)])

        def begun() -> bool:
            counts = sdk.batches.retrieve(batch.id).request_counts
            return counts is not None and counts.completed >= 2

        wait_for(begun, 30.0)
        with pytest.raises(openai.RateLimitError, match="have not ended"):
            submit(sdk, [line(1)])
        assert sdk.batches.cancel(batch.id).status == "cancelling"
        over = ended(sdk, batch)
        assert over.status == "cancelled"
        assert over.request_counts is not None
        assert 2 <= len(said(sdk, over.output_file_id)) < 100


def test_a_batch_that_takes_too_long_expires_with_what_was_answered(tmp_path: Path):
    slow = ("--set", "batches.open_most=1", "--set", "batches.window_s=6")
    with Served(tmp_path, *slow) as served, client(served) as sdk:
        over = ended(sdk, submit(sdk, [line(n, "sim-long-40") for n in range(100)]))
        assert over.status == "expired"
        assert 1 <= len(said(sdk, over.output_file_id)) < 100


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_batch_goes_on_after_a_restart(tmp_path: Path, how: signal.Signals):
    slow = ("--set", "batches.open_most=2", "--set", "gateway.drain_s=1")
    with Served(tmp_path, *slow) as served, client(served) as sdk:
        batch = submit(sdk, [line(n, "sim-long-30") for n in range(30)])

        def begun() -> bool:
            counts = sdk.batches.retrieve(batch.id).request_counts
            return counts is not None and counts.completed >= 3

        wait_for(begun, 30.0)
        os.kill(served.process.pid, how)
        served.process.wait(20)
    with Served(tmp_path) as served, client(served) as sdk:
        over = ended(sdk, batch)
        assert over.status == "completed"
        assert over.request_counts is not None
        assert over.request_counts.completed == 30
        assert len(said(sdk, over.output_file_id)) == 30


def test_a_caller_sees_its_own_and_asks_only_its_models(tmp_path: Path):
    def made(name: str, *scopes: str) -> str:
        return run(tmp_path, "callers", "add", name, *scopes).stdout.strip()

    ann, bob = made("ann"), made("bob", "--model", "gpt-*")
    with Served(tmp_path, "--set", "callers.required=true") as served:
        with client(served) as nobody, pytest.raises(openai.AuthenticationError):
            nobody.files.list()
        with client(served, ann) as sdk, client(served, bob) as other:
            batch = ended(sdk, submit(sdk, [line(n) for n in range(5)]))
            assert batch.status == "completed"
            assert list(other.batches.list()) == []
            assert list(other.files.list()) == []
            with pytest.raises(openai.NotFoundError):
                other.batches.retrieve(batch.id)
            assert batch.output_file_id is not None
            with pytest.raises(openai.NotFoundError):
                other.files.content(batch.output_file_id)
            denied = ended(other, submit(other, [line(1)]))  # sim-echo is no model of bob's
            assert denied.request_counts is not None
            assert denied.request_counts.failed == 1
            assert denied.error_file_id is not None
            assert "model_not_allowed" in other.files.content(denied.error_file_id).text


def test_a_key_that_is_revoked_makes_no_more_calls_of_its_batch(tmp_path: Path):
    key = run(tmp_path, "callers", "add", "ann").stdout.strip()
    other = run(tmp_path, "callers", "add", "ann").stdout.strip()
    with Served(tmp_path, "--set", "batches.open_most=1") as served, client(served, key) as sdk:
        batch = submit(sdk, [line(n, "sim-long-40") for n in range(200)])

        def begun() -> bool:
            counts = sdk.batches.retrieve(batch.id).request_counts
            return counts is not None and counts.completed >= 1

        wait_for(begun, 30.0)
        assert run(tmp_path, "callers", "revoke", key[: len("sk-st-") + 8]).returncode == 0
        with client(served, other) as owner:
            over = ended(owner, batch)
            assert over.status == "completed"
            assert over.request_counts is not None
            assert over.request_counts.failed > 100
            assert over.error_file_id is not None
            assert "key_revoked" in owner.files.content(over.error_file_id).text


def test_a_folder_that_cannot_be_written_stops_batches_alone(tmp_path: Path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "batches").write_text("no folder")
    with Served(tmp_path, "--set", f"stores.directory={tmp_path / 'state'}") as served, client(served) as sdk:
        with pytest.raises(openai.InternalServerError, match="cannot be kept"):
            sdk.batches.list()
        wait_for(lambda: served.events("batches.not_kept"))  # lines are written four times a second
        assert served.ask().status == 200


def test_batches_can_be_left_out(tmp_path: Path):
    with (
        Served(tmp_path, "--set", "batches.serve=false") as served,
        client(served) as sdk,
        pytest.raises(openai.NotFoundError),
    ):
        sdk.batches.list()


def test_who_is_refused_while_it_still_sends_hears_why(tmp_path: Path):
    large = b"x" * 30_000_000
    with Served(tmp_path, "--set", "callers.required=true") as served:
        with client(served) as sdk, pytest.raises(openai.AuthenticationError, match="needs a key"):
            sdk.files.create(file=("in.jsonl", large), purpose="batch")
        request = urllib.request.Request(f"{served.origin}/v1/files", large, {"content-type": "text/plain"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        with refused.value as answer:
            assert answer.status == 401


@pytest.mark.parametrize("page", ["docs/howto/batch-gateway.md", "docs/zh/howto/batch-gateway.md"])
def test_the_guides_program_runs_as_it_stands(served: Served, tmp_path: Path, page: str):
    text = (Path(__file__).resolve().parents[2] / page).read_text("utf-8")
    found = re.search(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert found is not None
    program = found[1].replace("http://127.0.0.1:8080", served.origin).replace("sleep(5)", "sleep(0.1)")
    (tmp_path / "requests.jsonl").write_bytes(file_of([line(1), line(2)])[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", program],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [json.loads(each)["custom_id"] for each in done.stdout.splitlines() if each] == ["row-1", "row-2"]
