"""What the gateway booked is there after `kill -9`, and `stanchion usage` tells it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from tests.acceptance.served import Served, run, wait_for

pytestmark = pytest.mark.timeout(120)
KEYED = {"idempotency-key": "once"}


def metric(served: Served, name: str) -> float:
    with served.get("/metrics") as page:
        lines = page.read().decode().splitlines()
    return float(next((line.split()[-1] for line in lines if line.startswith(name)), "0"))


def used(home: Path, by: str) -> list[dict[str, object]]:
    done = run(home, "usage", "--by", by, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ask_keyed(served: Served) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello once"}]}
    address = f"{served.origin}/v1/chat/completions"
    request = urllib.request.Request(address, json.dumps(body).encode(), KEYED)
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def test_what_was_booked_survives_kill_9_and_is_told(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        for number in range(20):
            with served.ask(f"Hello {number}", stream=number % 2 == 0) as answer:
                answer.read()
        for _ in range(3):
            ask_keyed(served)
        wait_for(lambda: metric(served, 'stanchion_ledger_lines_total{outcome="written"}') == 23)
        served.process.kill()
        served.process.wait()
    rows = used(tmp_path, "model")
    assert [(row["model"], row["calls"], row["cached"], row["attempts"]) for row in rows] == [
        ("gpt-4o", 3, 2, 1),
        ("gpt-4o-mini", 20, 0, 20),
    ]
    (total,) = used(tmp_path, "")
    assert total["calls"] == 23
    assert total["unpriced"] == 0  # the simulator sends no bill


def test_a_ledger_that_is_off_is_not_written(tmp_path: Path) -> None:
    with Served(tmp_path, "--set", "stores.ledger=off") as served, served.ask() as answer:
        answer.read()
    assert not list(tmp_path.rglob("ledger.db"))
    done = run(tmp_path, "usage", STANCHION_STORES_LEDGER="off")
    assert done.returncode == 1
    assert "stores.ledger is off" in done.stderr
