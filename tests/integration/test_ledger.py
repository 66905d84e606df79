"""The ledger says what the provider says it sent: ten thousand calls of all kinds, and each token once."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from stanchion import AsyncClient, StanchionError
from stanchion.simulator import CallRecord, Simulator, SimulatorOptions
from stanchion.stores.ledger import Asked, Used, merged
from stanchion.stores.opening import open_ledger

pytestmark = pytest.mark.timeout(300)
CALLS = 10_000
OPEN = 50
KEY, OTHER_KEY, WORD = "sk-canary-7d5c1a9be2", "sk-canary-19f04c83d6", "zanzibar"
ASKED = [{"role": "user", "content": f"Tell me of {WORD} and its harbour."}]
EXACT = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "text-embedding-3-small")  # the provider told what was used
CUT, LEFT = "fault-cut-6-abort", "fault-stall-4"
HEDGED, CACHED = "gpt-4", "gpt-4.1-mini"
SETTINGS = """
[providers.sim]
base_url = "{url}"
key_env = ["SIM_KEY", "OTHER_KEY"]
models = []
[stores]
ledger = "sqlite://{ledger}"
[retry]
base_s = 0.001
attempts = 20  # of three in ten that are refused nobody is refused so often
budget_floor = 100000
[health]
failures = 100000
[routes.hedged]
balance = ["sim/gpt-4"]
[routes.hedged.hedge]
on = true
[prices.gpt-4o]
input = 2.5
input_cached = 1.25
output = 10
[prices."sim/gpt-4o-mini"]
input = 0.15
output = 0.6
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    faults: Any = (
        {"name": "503", "model": "gpt-4.1", "rate": 0.3},
        {"name": "slow", "model": HEDGED, "rate": 0.03, "seconds": 1},
    )
    async with Simulator(SimulatorOptions(faults=faults, log_capacity=3 * CALLS)) as running:
        yield running


async def streamed(client: AsyncClient, caller: str, model: str, **more: Any) -> None:
    async with client.stream(ASKED, model=model, caller=caller, **more) as stream:
        async for _ in stream:
            pass


async def one(client: AsyncClient, number: int) -> str:
    """Make a call of the kind that its number says; returns its model."""
    kind = number % 20
    caller = f"caller-{number % 3}"
    if kind < 7 or 11 <= kind < 13:
        model = "gpt-4o" if kind < 7 else "gpt-4.1"
        await client.chat(ASKED, model=model, caller=caller)
        return model
    if kind < 11:
        await streamed(client, caller, "gpt-4o-mini")
        return "gpt-4o-mini"
    if kind < 15:
        await streamed(client, caller, "hedged")
        return HEDGED
    if kind == 15:
        await streamed(client, caller, CACHED, temperature=0)
        return CACHED
    if kind == 16:
        await client.embed(f"the harbour of {WORD}", model="text-embedding-3-small", caller=caller)
        return "text-embedding-3-small"
    if kind == 17:
        with suppress(StanchionError):
            async with client.stream(ASKED, model=CUT, caller=caller, resume="error") as stream:
                async for _ in stream:
                    pass
        return CUT
    seen = 0
    async with client.stream(ASKED, model=LEFT, caller=caller) as stream:  # the reader goes away
        async for _ in stream:
            seen += 1
            if seen == 2:
                break
    return LEFT


async def make(client: AsyncClient) -> Counter[str]:
    made, numbers = Counter[str](), iter(range(CALLS))

    async def work() -> None:
        for number in numbers:
            made[await one(client, number)] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(OPEN):
            group.create_task(work())
    return made


async def booked(path: Path, *by: str) -> dict[str, Used]:
    store = open_ledger(f"sqlite://{path}")
    try:
        return {row.key[0]: row for row in await store.used(Asked(by=by))}
    finally:
        await store.aclose()


def prompt(row: Used) -> int:
    return row.of("input") + row.of("input_cached")


async def test_ten_thousand_mixed_calls_are_booked_as_the_provider_counted_them(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(
        logging.CRITICAL, "stanchion"
    )  # ten thousand lines are not wanted; taken back at the end
    monkeypatch.setenv("SIM_KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", OTHER_KEY)
    ledger, file = tmp_path / "ledger.db", tmp_path / "stanchion.toml"
    file.write_text(SETTINGS.format(url=sim.base_url, ledger=ledger), encoding="utf-8")
    async with AsyncClient(config=file) as client:
        made = await make(client)
        metrics = (await client.engine()).metrics
        hedges = {how: int(metrics.hedges.of(how).value) for how in ("won", "lost", "failed", "left")}
    rows = await booked(ledger, "model")
    assert {model: row.of("calls") for model, row in rows.items()} == made
    assert (
        sum(made.values())
        == CALLS
        == sum(row.of("calls") for row in (await booked(ledger, "caller")).values())
    )
    for model in (*EXACT, CACHED, CUT, LEFT):
        seen = [record for record in sim.calls if record.model == model]
        row = rows[model]
        assert row.of("attempts") == len(seen)
        answered = [record for record in seen if record.status == 200]
        written = row.of("output") + row.of("output_reasoning")
        if model in (*EXACT, CACHED):
            assert prompt(row) == sum(record.prompt_tokens for record in answered)
            assert written == sum(record.completion_tokens for record in answered)
            assert (row.of("estimated"), row.of("failed"), row.of("cancelled")) == (0, 0, 0)
        else:
            # what came over the wire is known; a reader that leaves has not always seen what was sent last
            assert row.of("estimated") == len(seen) == made[model]
            assert abs(written - sum(record.completion_tokens for record in answered)) <= 2 * len(answered)
            assert prompt(row) > 0
    assert len([record for record in sim.calls if record.status == 503]) > CALLS // 50  # many were retried
    assert rows[CUT].of("failed") == made[CUT]
    assert rows[LEFT].of("cancelled") == made[LEFT]
    for model in (CACHED, "text-embedding-3-small"):
        assert rows[model].of("cached") == made[model] - rows[model].of("attempts") > made[model] / 2
    races(rows[HEDGED], made[HEDGED], hedges, [each for each in sim.calls if each.model == HEDGED])
    assert answers_of(ledger) == (made[HEDGED], *each_of(sim, made[HEDGED]))
    priced(rows, made)
    stored = contents(tmp_path)
    assert b"caller-1" in stored
    assert KEY.encode() not in stored
    assert OTHER_KEY.encode() not in stored
    assert WORD.encode() not in stored


def priced(rows: dict[str, Used], made: Counter[str]) -> None:
    """Each token is counted at its price."""
    costs = {model: row.cost_micro_usd for model, row in rows.items()}
    assert abs(costs["gpt-4o"] - dear(rows["gpt-4o"], 2.5, 1.25, 10)) <= made["gpt-4o"] / 2
    assert abs(costs["gpt-4o-mini"] - dear(rows["gpt-4o-mini"], 0.15, 0.15, 0.6)) <= made["gpt-4o-mini"] / 2
    assert rows["gpt-4.1"].of("unpriced") == made["gpt-4.1"]  # it has no price here


def races(row: Used, calls: int, hedges: dict[str, int], seen: list[CallRecord]) -> None:
    """Each second attempt is booked, its share is kept, and who was cut at the provider had lost."""
    made = hedges["won"] + hedges["lost"]
    assert (hedges["failed"], hedges["left"]) == (0, 0)
    assert calls / 100 <= made <= calls / 20
    assert row.of("attempts") == calls + made
    # one that lost as it was being sent may never have arrived
    assert 0 <= calls + made - len(seen) <= hedges["lost"]
    assert row.of("estimated") == made  # what a provider never told: of each race one
    assert (row.of("failed"), row.of("cancelled")) == (0, 0)
    cut = [each for each in seen if not each.completed]
    assert 0 < len(cut) <= made
    assert all(each.client_left_at is not None for each in cut)


def answers_of(ledger: Path) -> tuple[int, int, int]:
    """Count the hedged answers and their tokens, without what was left: straight from the store's table."""
    with closing(sqlite3.connect(ledger)) as database:
        return database.execute(
            "SELECT count(*), sum(input + input_cached), sum(output + output_reasoning) FROM ledger_line"
            " WHERE model = ? AND estimated = 0",
            (HEDGED,),
        ).fetchone()


def each_of(sim: Simulator, answers: int) -> tuple[int, int]:
    """Return what the provider counted for so many of the hedged answers: they are all the same."""
    counted = {
        (each.prompt_tokens, each.completion_tokens)
        for each in sim.calls
        if each.model == HEDGED and each.completed
    }
    ((prompt_tokens, written),) = counted
    return prompt_tokens * answers, written * answers


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("ledger.db*"))


def dear(row: Used, fresh: float, cached: float, out: float) -> float:
    written = row.of("output") + row.of("output_reasoning")
    return row.of("input") * fresh + row.of("input_cached") * cached + written * out


WRITER = """
import asyncio, sys
from stanchion.stores.opening import open_ledger
from stanchion.stores.ledger import SUMS, Line
sums = (1, *[1] * (len(SUMS) - 1))
async def main():
    store, number = open_ledger(sys.argv[1]), 0
    while True:
        lines = [Line(f"r{number + n}", 0, 1.8e9 + n, "", "", "", "m", "p/m", "chat", "m", "completed", "", "",
                      False, 1.0, sums) for n in range(100)]
        await store.add(lines)
        number += 100
        print(number, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 7, 30])
def test_what_the_store_took_survives_kill_9_and_its_sums_agree(tmp_path: Path, after: int) -> None:
    url = f"sqlite://{tmp_path}/ledger.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    taken = [int(writer.stdout.readline()) for _ in range(after)][-1]
    writer.kill()
    taken = max([taken, *(int(line) for line in writer.stdout.read().split())])
    writer.wait()
    writer.stdout.close()

    async def read() -> tuple[Used, ...]:
        store = open_ledger(url)
        hours, days = await store.used(Asked(by=("hour",))), await store.used(Asked())
        await store.aclose()
        return (*merged((("",), row.sums) for row in hours), *days)

    hours, days = asyncio.run(read())
    database = sqlite3.connect(tmp_path / "ledger.db")
    (lines,) = database.execute("SELECT count(*) FROM ledger_line").fetchone()
    database.close()
    assert hours.of("calls") == days.of("calls") == days.of("cost_output") == lines
    assert taken <= lines <= taken + 100  # the batch in the air may be there, and then wholly
    assert lines % 100 == 0
