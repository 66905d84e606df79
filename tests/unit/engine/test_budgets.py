"""Budgets in the settings: what is taken, what is refused with a word on what to write, and what a reload changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stanchion.core.errors import BudgetExceeded, InvalidCall, SettingsError
from stanchion.engine.config import Loaded, load
from stanchion.engine.engine import Engine
from stanchion.testing import chat_call

PROVIDER = """
[providers.a]
base_url = "http://127.0.0.1:9/v1"
auth = "none"
models = []
[prices.m]
input = 1.0
output = 2.0
"""


def settings(tmp_path: Path, more: str) -> Loaded:
    file = tmp_path / "stanchion.toml"
    file.write_text(PROVIDER + more)
    return load(file, environ={})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("dollars = -1.0", "budgets.x.dollars is -1.0"),
        ("dollars = inf", "budgets.x.dollars is inf"),
        ('dollars = 1.0\ntimezone = "Mars/Olympus"', "there is no time zone 'Mars/Olympus'; write UTC"),
        ('dollars = 1.0\ntimezone = "../etc"', "there is no time zone"),
        ("dollars = 1.0\nalert_at = 0.0", "budgets.x.alert_at is 0.0"),
        ("dollars = 1.0\nwindow = 'week'", "invalid enum value 'week'"),
        ("dollar = 1.0", "did you mean 'dollars'"),
    ],
)
def test_a_budget_that_cannot_work_is_refused_and_says_where(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told.replace("[", r"\[")):
        settings(tmp_path, f"[budgets.x]\n{line}\n")


def test_a_reload_brings_budgets_and_changes_them(tmp_path: Path) -> None:
    async def run() -> None:
        async with Engine(settings(tmp_path, "")) as engine:
            engine.reload(settings(tmp_path, "[budgets.x]\ndollars = 0.0\n"))
            with pytest.raises(BudgetExceeded) as stopped:
                await engine(chat_call(model="m"))
            assert "'x'" in str(stopped.value)
            engine.reload(settings(tmp_path, "[budgets.y]\ndollars = 0.0\nmodels = ['a/*']\n"))
            with pytest.raises(BudgetExceeded):
                await engine(chat_call(model="a/m"))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("pricing", "error"),
    [
        ("", InvalidCall),
        ("[pricing]\nunknown = 'refuse'\nunknown_input = 1.0\n", InvalidCall),
        ("[pricing]\nunknown_input = 1.0\n", BudgetExceeded),
    ],
)
def test_a_model_without_a_price_counts_as_the_settings_say_or_is_refused(
    tmp_path: Path, pricing: str, error: type[Exception]
) -> None:
    async def run() -> None:
        loaded = settings(tmp_path, f"[budgets.x]\ndollars = 0.0\n{pricing}")
        async with Engine(loaded) as engine:
            with pytest.raises(error):
                await engine(chat_call(model="unknown"))

    asyncio.run(run())
