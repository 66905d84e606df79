"""Rows of hedging: what it makes of a provider one in twenty of whose answers straggles, and what it costs."""

from __future__ import annotations

import json
import statistics
import tempfile
from typing import IO

from benchmarks.figures import Row, Run, interleaved, ratio_row
from benchmarks.hedge_worker import WARM_UP
from benchmarks.machine import PYTHON, free_port
from benchmarks.processes import python, server, worker

_TTFT_S, _STRAGGLER_S, _ONE_IN = 0.1, 1, 20
_CALLS = 2_000
_TAIL_MOST, _EXTRA_MOST, _PASS_MOST_US = 0.5, 5.0, 15.0


def _written(file: IO[str], run: Run) -> str:
    """Write down which requests straggle, enough for all runs; returns the file's name.

    Each twentieth, and not one in twenty by lot: 5 % extra calls cannot make up for a draw of 6 %.
    """
    turns = run.runs * 2 * (WARM_UP + _CALLS) * 2 // _ONE_IN
    turn = [{"name": "ok", "times": _ONE_IN - 1}, {"name": "slow", "seconds": _STRAGGLER_S}]
    json.dump(turn * turns, file)
    file.flush()
    return file.name


def rows(run: Run) -> list[Row]:
    """Measure the tail with and without, the extra calls, and what a call pays that is not late."""
    port = free_port()
    words = [
        *(PYTHON, "-m", "stanchion", "simulate", "--port", str(port), "--ttft", str(_TTFT_S)),
        *("--tokens-per-s", "0"),
    ]
    with (
        tempfile.NamedTemporaryFile("w", suffix=".json") as faults,
        server([*words, "--faults", _written(faults, run)], port, core=1),
        worker(python("benchmarks.hedge_worker"), core=0) as asks,
    ):

        def measure(*, hedge: bool) -> dict[str, float]:
            order = {"base_url": f"http://127.0.0.1:{port}/v1", "calls": run.times(_CALLS)}
            return asks.ask(do="tail", hedge=hedge, **order)

        plain, hedged = interleaved(run.runs, lambda: measure(hedge=False), lambda: measure(hedge=True))
        passing = statistics.median(asks.ask(do="pass")["cpu_us"] for _ in range(run.runs))
    extra = max(each["extra"] for each in hedged)
    medians = [statistics.median(each["p50_ms"] for each in found) for found in (plain, hedged)]
    return [
        ratio_row(
            "5 % stragglers, hedged: p99 to first token",
            "ms",
            [each["p99_ms"] for each in plain],
            [each["p99_ms"] for each in hedged],
            beside="not hedged",
            most=_TAIL_MOST,
            note=f"two keys; first token after {_TTFT_S} s, each {_ONE_IN}th {_STRAGGLER_S} s later; "
            f"medians {medians[0]:.0f} and {medians[1]:.0f} ms",
        ),
        Row(
            name="the same: extra calls",
            unit="%",
            ours=extra,
            compared=extra,
            as_="unit",
            most=_EXTRA_MOST,
            note="the most of all runs, those calls included in which it was learned what is late",
        ),
        Row(
            name="hedging on, an answer in time: CPU per call",
            unit="µs",
            ours=passing,
            compared=passing,
            as_="unit",
            most=_PASS_MOST_US,
            note="in process, over an endpoint that answers at once",
        ),
    ]
