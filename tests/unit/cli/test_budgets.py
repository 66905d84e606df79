"""`stanchion budgets`: what is spent, held and left, of budgets for all and for each, from the store."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from stanchion.cli.main import main
from stanchion.core.clock import Clock
from stanchion.rules.windows import window_of
from stanchion.stores.budgets import Charge, Hold, Settlement
from stanchion.stores.opening import open_budgets

SETTINGS = """
[stores]
budgets = "{address}"
[budgets.company]
dollars = 100.0
window = "total"
[budgets.teams]
dollars = 2.5
window = "day"
per = "team"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "stanchion.toml"
    file.write_text(SETTINGS.format(address=f"sqlite://{tmp_path}/money.db"))
    return file


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["budgets", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["budgets", *map(str, words)]) == 1
    return capsys.readouterr().err


def spend(folder: Path, *purses: str) -> None:
    async def go() -> None:
        store = open_budgets(f"sqlite://{folder}/money.db", Clock())
        await store.reserve("a", [Hold(purse, 10**9, 500_000, 1) for purse in purses], 60.0)
        await store.settle([Settlement("a", tuple(Charge(purse, 250_001) for purse in purses))])
        await store.reserve("b", [Hold(purse, 10**9, 1_000_000, 1) for purse in purses], 60.0)
        await store.aclose()

    asyncio.run(go())


def test_what_is_spent_held_and_left_is_told_of_all_and_of_each(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    today = window_of("day", time.time(), ZoneInfo("UTC"))
    spend(tmp_path, "company total", f"teams/red {today.id}", f"teams/ {today.id}", "teams/old 2020-01-01")
    rows = json.loads(told(capsys, "--config", file, "--json"))
    assert [(row["budget"], row["of"], row["window"]) for row in rows] == [
        ("company", "", "total"),
        ("teams", "", today.id),
        ("teams", "red", today.id),
    ]
    assert rows[0]["resets_at"] is None
    assert rows[2] == {
        "budget": "teams",
        "of": "red",
        "window": today.id,
        "cap_micro_usd": 2_500_000,
        "spent_micro_usd": 250_001,
        "held_micro_usd": 1_000_000,
        "left_micro_usd": 1_249_999,
        "resets_at": today.ends_at,
    }
    table = told(capsys, "--config", file)
    for text in ("company", "red", "0.250001", "1.249999", "never"):
        assert text in table


def test_a_budget_that_nobody_used_is_told_whole(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(told(capsys, "--config", file, "--json"))
    assert [(row["budget"], row["spent_micro_usd"], row["left_micro_usd"]) for row in rows] == [
        ("company", 0, 100_000_000)
    ]


def test_without_budgets_it_says_how_to_write_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "stanchion.toml"
    file.write_text("")
    assert "[budgets.NAME]" in told(capsys, "--config", file)
    assert json.loads(told(capsys, "--config", file, "--json")) == []


def test_what_another_process_keeps_in_memory_cannot_be_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "--config", file, "--set", "stores.budgets=memory")
    assert "stores.budgets is memory, which this command cannot see" in said


def test_a_store_that_does_not_answer_fails_in_one_line(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "--config", file, "--set", "stores.budgets=redis://:secret@127.0.0.1:9/0")
    assert "the budgets at redis://127.0.0.1:9/0 cannot be read" in said
    assert "secret" not in said
