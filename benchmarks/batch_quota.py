"""Rows of a batch job under a quota that is enforced and not told: how much of it is used, and at how many 429s.

Share: as in `quota.py`, what the server let in over all it would have allowed, its full first bucket included.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Row, Run
from benchmarks.processes import Worker, process, python, worker

_KEY = "sk-bench-batch"
_RPM, _TPM = 1_200, 400_000
_ROWS = 6_000


def rows(run: Run) -> list[Row]:
    """Both limits at the same time, each at a server of its own: they wait for quota, not for the machine."""
    seconds = 60 if run.quick else 120
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        kinds = ("requests", "tokens")
        words = python("benchmarks.quota_server", "bucket", seconds, json.dumps([(_KEY, _RPM, _TPM)]))
        servers = [stack.enter_context(worker(words, core=1)) for _ in kinds]
        jobs = [
            _job(Path(folder), kind, server, seconds) for kind, server in zip(kinds, servers, strict=True)
        ]
        running = [stack.enter_context(process(job, core=0, piped=True)) for job in jobs]
        for each in running:
            each.wait()
        found = [server.ask() for server in servers]
    return [
        row for kind, counted in zip(kinds, found, strict=True) for row in _judged(kind, counted, seconds)
    ]


def _job(folder: Path, kind: str, server: Worker, seconds: int) -> list[str]:
    lot, source = random.Random(kind), folder / f"{kind}.jsonl"
    with source.open("w") as file:
        for number in range(_ROWS):
            words, most = (lot.randint(80, 700), lot.randint(300, 1500)) if kind == "tokens" else (20, 20)
            body = {
                "model": "gpt-4o",
                "messages": [{"role": "user", "content": f"{number} " + "word " * words}],
                "max_tokens": most,
            }
            line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
    order = {
        "what": "job",
        "base_url": server.answer()["base_url"],
        "source": str(source),
        "output": str(folder / f"{kind}.out.jsonl"),
        "preset": "openai",
        "key": _KEY,
        "seconds": seconds + 1,
        "most": 400,
    }
    return python("benchmarks.batch_worker", json.dumps(order))


def _judged(kind: str, counted: dict[str, int], seconds: int) -> Sequence[Row]:
    limit, let_in = (_RPM, counted["let_in"]) if kind == "requests" else (_TPM, counted["tokens"])
    share = let_in / (limit * (1 + seconds / 60))
    refused = 1000 * counted["refused"] / max(1, counted["let_in"])
    name = f"batch, {kind}-bound quota, not told"
    return [
        Row(
            name=f"{name}: share used",
            unit="of all",
            ours=share,
            compared=share,
            as_="unit",
            least=0.97,
            note=f"{let_in:,} in {seconds} s",
        ),
        Row(
            name=f"{name}: 429s per 1,000 calls",
            unit="",
            ours=refused,
            compared=refused,
            as_="unit",
            most=5.0,
        ),
    ]
