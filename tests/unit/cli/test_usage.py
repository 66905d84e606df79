"""`stanchion usage`: what the ledger knows, as a table, JSON and CSV."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from pathlib import Path

import pytest

from stanchion.cli.main import main
from stanchion.stores.ledger import SUMS, Line
from stanchion.stores.opening import open_ledger

NOW = time.time()


def line(call: str, model: str, caller: str, *, at: float = NOW, **sums: int) -> Line:
    values = tuple(sums.get(name, 1 if name == "calls" else 0) for name in SUMS)
    return Line(
        call, 0, at, "", caller, "", model, f"openai/{model}", "chat/completions", model, "completed", "", "",
        False, 1.0, values,
    )  # fmt: skip


@pytest.fixture
def address(tmp_path: Path) -> str:
    url = f"sqlite://{tmp_path}/ledger.db"

    async def fill() -> None:
        store = open_ledger(url)
        await store.add(
            [
                line("1", "gpt-4o", "web", input=1000, input_cached=500, output=7, cost_input=1_234_567),
                line("2", "gpt-4o", "=cmd()", failed=1, at=NOW - 40 * 86_400),
                line("3", "größe", "web", output=3, cost_output=1, estimated=1, unpriced=1),
            ]
        )
        await store.aclose()

    asyncio.run(fill())
    return url


def said(capsys: pytest.CaptureFixture[str], address: str, *words: str) -> str:
    assert main(["usage", "--set", f"stores.ledger={address}", *words]) == 0
    return capsys.readouterr().out


def test_the_table_has_a_row_each_and_a_total(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, address, "--by", "model")
    rows = [row.split() for row in text.splitlines()]
    assert ["gpt-4o", "2", "1", "1,500", "500", "7", "1.234567"] in rows
    assert ["größe", "1", "0", "0", "0", "3", "0.000001"] in rows
    assert ["total", "3", "1", "1,500", "500", "10", "1.234568"] in rows
    assert "1 answers were cut or left" in text
    assert "1 answers are of models without a price" in text


def test_json_has_every_class_and_the_exact_cost(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(said(capsys, address, "--by", "caller,model", "--since", "30d", "--format", "json"))
    assert [(row["caller"], row["model"], row["cost"]) for row in rows] == [
        ("web", "gpt-4o", "1.234567"),
        ("web", "größe", "0.000001"),
    ]
    assert rows[0]["cost_micro_usd"] == rows[0]["cost_input"] == 1_234_567
    assert set(SUMS) <= set(rows[0])


def test_csv_is_for_spreadsheets_and_holds_no_formula(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.DictReader(io.StringIO(said(capsys, address, "--by", "caller", "--format", "csv"))))
    assert [(row["caller"], row["calls"]) for row in rows] == [("'=cmd()", "1"), ("web", "2")]
    (all_,) = csv.DictReader(io.StringIO(said(capsys, address, "--by", "", "--format", "csv")))
    assert (all_["calls"], all_["cost"]) == ("3", "1.234568")


def test_a_time_is_a_span_ago_or_a_date(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, address, "--until", "30d", "--by", "", "--format", "json").count('"calls": 1') == 1
    assert said(capsys, address, "--since", "2999-01-01") == "nothing was used, as far as the ledger knows\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--by", "modell"), "did you mean 'model'"),
        (("--by", "xyz"), "known are caller, model"),
        (("--since", "soon"), "write 7d, 24h"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(
    words: tuple[str, ...], error: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["usage", "--set", f"stores.ledger={address}", *words]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("address", ["memory", "off", "redis://127.0.0.1/0"])
def test_a_ledger_that_cannot_be_seen_is_told(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--set", f"stores.ledger={address}"]) == 1
    assert "ledger" in capsys.readouterr().err
