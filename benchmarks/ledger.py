"""Rows of the ledger: how long a question takes over ten million lines, and what a line costs to write."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Row, Run
from stanchion.stores.ledger import DIMENSIONS, HOUR_S, SUMS, Asked, Line
from stanchion.stores.sqlite.ledger import SqliteLedger

_LINES, _QUICK_LINES = 10_000_000, 1_000_000
_HOURS = 90 * 24
_FIRST = 480_000  # an hour of 2024
_CALLERS, _MODELS = 25, 8
_REACH_S = 0.2
_BATCH, _BATCHES = 500, 40
_STREAM = True

# every hour has each caller with each model; a call in ten has a cached prompt
_FILL = f"""
    WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :end)
    INSERT INTO ledger_line
    SELECT {_FIRST} + i * {_HOURS} / :lines, printf('req_%024x', i), 0, ({_FIRST} + i * {_HOURS} / :lines) * 3600.0,
        'caller' || (i % {_CALLERS}), 'model' || (i / {_CALLERS} % {_MODELS}),
        'openai/model' || (i / {_CALLERS} % {_MODELS}) || '#KEY', '', 'team' || (i % 4), 'chat/completions', 'assistant', 'completed', '', '',
        1, 1.25, 1, 0, 0, 0, 1, 0, 0,
        900 + i % 100, CASE i % 10 WHEN 0 THEN 800 ELSE 0 END, 0, 0, 200 + i % 50, 0, 0,
        2250, CASE i % 10 WHEN 0 THEN 1000 ELSE 0 END, 0, 0, 2000, 0, 0
    FROM n
"""


def rows(run: Run) -> list[Row]:
    """Questions over many lines in SQLite, and the cost of a batch."""
    lines = _QUICK_LINES if run.quick else _LINES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        asyncio.run(_write(path, []))  # makes the tables
        began = time.perf_counter()
        _fill(path, lines)
        run.say(f"{lines:,} lines in {time.perf_counter() - began:.0f} s, {path.stat().st_size / 1e9:.1f} GB")
        batch_us = asyncio.run(_write(path, _lines()))
        found = asyncio.run(_ask(path, run.runs))
    slowest = max(found, key=lambda each: found[each])
    note = "; ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in found.items())
    return [
        Row(
            name=f"usage over {lines:,} lines, the slowest question",
            unit="ms",
            ours=found[slowest] * 1e3,
            compared=found[slowest] * 1e3,
            as_="unit",
            most=_REACH_S * 1e3,
            note=note,
        ),
        Row(
            name="ledger: a line in a batch of 500, with its sums",
            unit="µs",
            ours=batch_us,
            compared=batch_us,
            as_="unit",
            note=f"wall time in SQLite, onto {lines:,} lines",
        ),
    ]


def _fill(path: Path, lines: int) -> None:
    """Write lines as a batch would, in SQL, and the sums of them: the contract suite holds that they agree."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")
    step = 500_000
    for first in range(0, lines, step):
        database.execute(_FILL, {"first": first, "end": min(first + step, lines), "lines": lines})
    keys, sums = ", ".join(DIMENSIONS), ", ".join(f"sum({name})" for name in SUMS)
    for at, hour in (("hour", "hour"), ("day", "hour / 24")):
        wanted = f"SELECT {hour}, {keys}, {sums} FROM ledger_line GROUP BY {hour}, {keys}"
        database.execute(f"INSERT INTO ledger_{at} {wanted}")
    database.close()


async def _ask(path: Path, runs: int) -> dict[str, float]:
    """Return the median seconds of each question."""
    at = float(_FIRST * HOUR_S)
    since, until = at + 10.5 * 86_400, at + 40.7 * 86_400  # the ends lie within days
    questions = {
        f"all by caller, model, day ({_CALLERS * _MODELS * _HOURS // 24:,} rows)": Asked(
            ("caller", "model", "day")
        ),
        "30 days by caller, model, day": Asked(("caller", "model", "day"), since, until),
        "all by model": Asked(("model",)),
        "30 days by team": Asked(("team",), since, until),
        "a day by hour, caller": Asked(("hour", "caller"), since, since + 86_400),
    }
    store, found = SqliteLedger(str(path)), dict[str, list[float]]()
    for _ in range(runs):
        for name, asked in questions.items():
            began = time.perf_counter()
            assert await store.used(asked)
            found.setdefault(name, []).append(time.perf_counter() - began)
    await store.aclose()
    return {name: statistics.median(each) for name, each in found.items()}


async def _write(path: Path, lines: Sequence[Line]) -> float:
    """Add lines in batches; return microseconds for each."""
    store = SqliteLedger(str(path))
    await store.add([])
    began = time.perf_counter()
    for first in range(0, len(lines), _BATCH):
        await store.add(lines[first : first + _BATCH])
    took = time.perf_counter() - began
    await store.aclose()
    return took * 1e6 / len(lines) if lines else 0.0


def _lines() -> list[Line]:
    at = float((_FIRST + _HOURS) * HOUR_S)
    sums = tuple(17 if name.startswith(("input", "cost")) else 1 for name in SUMS)
    return [
        Line(
            f"req_{number:08x}aaaaaaaaaaaaaaaa", 0, at + number, "team0", f"caller{number % _CALLERS}", "",
            f"model{number % _MODELS}", f"openai/model{number % _MODELS}#KEY", "chat/completions", "assistant",
            "completed", "", "", _STREAM, 1.25, sums,
        )
        for number in range(_BATCH * _BATCHES)
    ]  # fmt: skip
