"""Four processes spend one budget as fast as they may, and some are killed at any moment: the cap holds, and is used."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from functools import partial
from operator import le
from pathlib import Path

import pytest

from tests.contract.conftest import Place
from tests.contract.waiting import until

pytestmark = pytest.mark.timeout(180)

PROCESSES, KILLS = 4, 2
CAP = 2_400_000  # micro-dollars: about 12,000 calls


def started(place: Place, bills: Path, beside: str) -> subprocess.Popen[bytes]:
    # each waits two seconds for the store at most; PostgreSQL shares two cores with all that ask it
    calls = 200 if (place.backend, beside) == ("postgres", "limits") else 500
    words = [place.url, str(CAP), str(bills), str(calls), beside]
    return subprocess.Popen([sys.executable, "-m", "tests.contract.budget_worker", *words])


def billed(bills: Path) -> int:
    return sum(int(each) for each in bills.read_bytes().split())


@pytest.mark.parametrize("backend", ["redis", "postgres"])
@pytest.mark.parametrize("beside", ["alone", "limits"])
async def test_a_cap_holds_and_is_used_while_processes_are_killed(
    place: Place, tmp_path: Path, beside: str
) -> None:
    bills, lots = tmp_path / "bills", random.Random(11)
    bills.touch()

    async def so_far() -> int:
        return await asyncio.to_thread(billed, bills)

    running = [started(place, bills, beside) for _ in range(PROCESSES)]
    kills = 0
    for part in sorted(lots.uniform(0.1, 0.8) for _ in range(KILLS)):
        await until(partial(le, part * CAP), so_far, pause_s=0.02)
        victim = running.pop(lots.randrange(len(running)))
        kills += victim.poll() is None
        victim.kill()
        victim.wait()
        running.append(started(place, bills, beside))
    for each in running:
        assert await asyncio.to_thread(each.wait) == 0
    budgets = place.budgets()

    async def held() -> int:
        return (await budgets.spent(["all total"]))[0].held

    await until(lambda amount: amount == 0, held)
    spent = (await budgets.spent(["all total"]))[0].spent
    assert kills == KILLS
    assert billed(bills) <= spent <= CAP
    assert billed(bills) >= 0.95 * CAP
