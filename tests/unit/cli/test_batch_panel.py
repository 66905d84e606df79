"""The panel of a job, its one line, its forecast."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from stanchion.batch.job import Facts
from stanchion.batch.progress import Limit, Snapshot, Speeds, _eta, _left, _projected, limits_of
from stanchion.cli.batch_display import JsonDisplay, one_line
from stanchion.cli.batch_panel import panel
from stanchion.cli.batch_words import usd
from stanchion.core.rates import Level

SNAPSHOT = Snapshot(
    stage="asking",
    seconds=61.0,
    rows=2000,
    rows_exact=False,
    done=500,
    failed=3,
    before=20,
    twins=7,
    in_flight=64,
    in_batches=1000,
    batches=2,
    waiting=5,
    prompt_tokens=12_345,
    completion_tokens=678,
    rows_per_s=8.25,
    tokens_per_s=1234.5,
    eta_s=181.0,
    spent_micro_usd=1_234_567,
    projected_micro_usd=4_900_000,
    cap_micro_usd=5_000_000,
    refused_429=11,
    retries=12,
    cache_hits=13,
    limits=(Limit("openai/gpt-4o-mini#A", "requests", 480, 500, 60.0),),
)


def drawn(snapshot: Snapshot) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(panel(snapshot, "in.csv -> out.csv"))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_the_panel_shows_all_that_is_known() -> None:
    text = drawn(SNAPSHOT)
    for part in (
        "in.csv -> out.csv",
        "25.0%",
        "0:01:01, 0:03:01 left",
        "500 of about 2,000",
        "64, 1,000 in 2 batches, 5 in line again",
        "8.2",
        "1,234",
        "12,345 in, 678 out",
        "$1.2346 of at most $5.0000",
        "$4.9000",
        "7 twins, 13 from the cache",
        "openai/gpt-4o-mini#A",
        "480/500 a min",
    ):
        assert part in text


def test_what_is_not_known_yet_is_not_guessed() -> None:
    fresh: dict[str, Any] = {
        "rows_per_s": None,
        "tokens_per_s": None,
        "eta_s": None,
        "projected_micro_usd": None,
    }
    assert "how long is not known yet" in drawn(msgspec.structs.replace(SNAPSHOT, limits=(), **fresh))


def test_many_limits_are_cut() -> None:
    many = tuple(Limit(f"p/m#{number}", "tokens", 0, 10, 1.0) for number in range(30))
    text = drawn(msgspec.structs.replace(SNAPSHOT, limits=many))
    assert "and 22 more limits" in text
    assert "p/m#8" not in text


def test_one_line_says_the_most_needed() -> None:
    assert one_line(SNAPSHOT) == (
        "asking: 500 of about 2,000 rows, 3 failed, 1,064 in flight, 8.2 rows/s, 0:03:01 left, $1.234567"
    )


def test_machines_read_a_snapshot_a_line() -> None:
    out = io.BytesIO()
    JsonDisplay(out).show(SNAPSHOT)
    assert msgspec.json.decode(out.getvalue(), type=Snapshot) == msgspec.structs.replace(
        SNAPSHOT, limits=list(SNAPSHOT.limits)
    )


@pytest.mark.parametrize(
    ("micro", "text"), [(0, "$0.000000"), (1_234_567_890, "$1,234.567890"), (5, "$0.000005")]
)
def test_money_is_written_to_the_last_digit(micro: int, text: str) -> None:
    assert usd(micro) == text


def test_the_speed_is_that_of_the_last_half_minute() -> None:
    speeds = Speeds()
    assert speeds.per_s() is None
    speeds.note(0.0, 0, 0)
    assert speeds.per_s() is None
    for second in range(1, 101):
        speeds.note(float(second), min(second, 60) * 10, second * 7)
    assert speeds.per_s() == (0.0, 7.0), "nothing was done in the last 40 s"


def test_what_is_left_counts_twins_and_unread_rows() -> None:
    facts = Facts(read=100, asked=50, twins=50, answered=20, failed=5)
    assert _left(facts, 1000) == 900 + 50
    assert _eta(950, (10.0, 0.0)) == 95.0
    assert _eta(950, None) is None
    assert _eta(0, None) == 0.0


def test_the_forecast_of_money_starts_from_what_this_run_paid() -> None:
    facts = Facts(spent_micro_usd=3000, spent_before_micro_usd=1000)
    assert _projected(facts, left=100, ended=10) == 3000 + 100 * 200
    assert _projected(facts, left=100, ended=0) is None
    assert _projected(facts, left=0, ended=0) == 3000


def test_limits_are_sorted_by_endpoint() -> None:
    levels = {"b/m": [Level("tokens", 90, 100, 60.0), Level("requests", 12, 10, 60.0)], "a/m": []}
    assert limits_of(levels) == [Limit("b/m", "requests", 0, 10, 60.0), Limit("b/m", "tokens", 10, 100, 60.0)]
