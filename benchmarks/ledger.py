"""Rows of the ledger: how long a question takes over ten million lines, beside ten thousand; what a line costs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from benchmarks import ledger_fill
from benchmarks.figures import Row, Run
from benchmarks.ledger_fill import CALLERS, FIRST_HOUR, HOURS, MODELS, Books
from stanchion.stores.ledger import HOUR_S, SUMS, Asked, LedgerStore, Line
from stanchion.stores.opening import open_ledger

_LINES, _QUICK_LINES, _FEW_LINES = 10_000_000, 1_000_000, 10_000
_REACH_MS = 200.0
_BATCH, _BATCHES = 500, 40
_STREAM = True

_AT = float(FIRST_HOUR * HOUR_S)
_SINCE, _UNTIL = _AT + 10.5 * 86_400, _AT + 40.7 * 86_400  # the ends lie within days
_ASKED = "all by caller, day"
_QUESTIONS = {
    _ASKED: Asked(("caller", "day")),
    "30 days by caller, day": Asked(("caller", "day"), _SINCE, _UNTIL),
    "all by caller, model, day": Asked(("caller", "model", "day")),
    "30 days by caller, model, day": Asked(("caller", "model", "day"), _SINCE, _UNTIL),
    "all by model": Asked(("model",)),
    "30 days by team": Asked(("team",), _SINCE, _UNTIL),
    "a day by hour, caller": Asked(("hour", "caller"), _SINCE, _SINCE + 86_400),
}

Taken = dict[str, list[float]]  # milliseconds of each question


def rows(run: Run) -> list[Row]:
    """Questions over many lines, and the cost of a batch onto them, in each database."""
    found = list[Row]()
    for name, opened in (("SQLite", ledger_fill.sqlite()), ("PostgreSQL", ledger_fill.postgres())):
        found += _rows(run, name, opened)
    return found


def _rows(run: Run, name: str, opened: AbstractContextManager[Books]) -> list[Row]:
    lines = _QUICK_LINES if run.quick else _LINES
    with opened as books:
        began = time.perf_counter()
        books.fill(books.many, lines)
        run.say(f"{lines:,} lines in {name} in {time.perf_counter() - began:.0f} s")
        books.fill(books.few, _FEW_LINES)
        line_us = asyncio.run(_write(books.many, _lines()))
        few, many = asyncio.run(_ask(books, run.runs))
    middle = {each: statistics.median(many[each]) for each in many}
    slowest = max(middle, key=lambda each: middle[each])
    return [
        _usage_row(f"usage over {lines:,} lines in {name}, by caller, day", few[_ASKED], many[_ASKED]),
        _usage_row(
            f"usage over {lines:,} lines in {name}, the slowest question",
            few[slowest],
            many[slowest],
            note="; ".join(f"{each} {ms:.0f} ms" for each, ms in middle.items()),
        ),
        Row(
            name=f"ledger in {name}: a line in a batch of {_BATCH}, with its sums",
            unit="µs",
            ours=line_us,
            compared=line_us,
            as_="unit",
            note=f"wall time, onto {lines:,} lines",
        ),
    ]


def _usage_row(name: str, few: Sequence[float], many: Sequence[float], note: str = "") -> Row:
    figure = statistics.median(many)
    return Row(
        name=name,
        unit="ms",
        reference=statistics.median(few),
        ours=figure,
        beside=f"{_FEW_LINES:,} lines",
        compared=figure,
        as_="unit",
        most=_REACH_MS,
        note=note,
    )


async def _ask(books: Books, runs: int) -> tuple[Taken, Taken]:
    """Ask both ledgers in turns; return what each question took, without the first time."""
    stores = [open_ledger(books.few), open_ledger(books.many)]
    taken: tuple[Taken, Taken] = ({}, {})
    for _ in range(runs + 1):
        for name, asked in _QUESTIONS.items():
            for store, of in zip(stores, taken, strict=True):
                of.setdefault(name, []).append(await _timed(store, asked))
    for store in stores:
        await store.aclose()
    few, many = ({name: ms[1:] for name, ms in of.items()} for of in taken)
    return few, many


async def _timed(store: LedgerStore, asked: Asked) -> float:
    began = time.perf_counter()
    assert await store.used(asked)
    return (time.perf_counter() - began) * 1e3


async def _write(url: str, lines: Sequence[Line]) -> float:
    """Add lines in batches; return microseconds for each."""
    store = open_ledger(url)
    await store.add([])
    began = time.perf_counter()
    for first in range(0, len(lines), _BATCH):
        await store.add(lines[first : first + _BATCH])
    took = time.perf_counter() - began
    await store.aclose()
    return took * 1e6 / len(lines)


def _lines() -> list[Line]:
    at = float((FIRST_HOUR + HOURS) * HOUR_S)
    sums = tuple(17 if name.startswith(("input", "cost")) else 1 for name in SUMS)
    return [
        Line(
            f"req_{number:08x}aaaaaaaaaaaaaaaa", 0, at + number, "team0", f"caller{number % CALLERS}", "",
            f"model{number % MODELS}", f"openai/model{number % MODELS}#KEY", "chat/completions", "assistant",
            "completed", "", "", _STREAM, 1.25, sums,
        )
        for number in range(_BATCH * _BATCHES)
    ]  # fmt: skip
