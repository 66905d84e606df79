"""Rows of the semantic cache: what it costs to look among 10,000 questions, and to embed one with the local model."""

from __future__ import annotations

import statistics

from benchmarks.figures import Row, Run
from benchmarks.machine import free_port
from benchmarks.processes import Worker, python, server, worker

_QUESTIONS = 10_000
_FIND_MOST_US = 1000.0  # our own reach: a tenth of what it costs to embed the question


def rows(run: Run) -> list[Row]:
    """Measure a lookup, an embedding, and a whole hit in the library."""
    port = free_port()
    with (
        server(python("benchmarks.upstream", "--port", port, "--tick-ms", 0), port, core=1),
        worker(python("benchmarks.semantic_worker"), core=0) as inside,
    ):
        find = _figures(run, inside, do="find", questions=_QUESTIONS, calls=run.times(2000))
        embed = _figures(run, inside, do="embed", calls=run.times(300))
        hit = _figures(run, inside, do="hits", calls=run.times(300), base_url=f"http://127.0.0.1:{port}/v1")
    return [
        _row("semantic cache: find the nearest", find, f"among {_QUESTIONS:,} questions", _FIND_MOST_US),
        _row("semantic cache: embed a question", embed, "local model, 14 words, one thread", None),
        _row("semantic cache hit, client: CPU", hit, "embedding, finding and replaying in all", None),
    ]


def _figures(run: Run, inside: Worker, **order: object) -> list[float]:
    return [inside.ask(**order)["cpu_us"] for _ in range(run.runs + 1)][1:]


def _row(name: str, figures: list[float], note: str, most: float | None) -> Row:
    figure = statistics.median(figures)
    return Row(name=name, unit="µs", ours=figure, compared=figure, as_="unit", most=most, note=note)
