"""Row of the simulator: requests a second on one core, so that it never is the bottleneck of a test."""

from __future__ import annotations

import statistics

from benchmarks import loads
from benchmarks.figures import Row, Run
from benchmarks.machine import PYTHON, free_port
from benchmarks.processes import server


def rows(run: Run) -> list[Row]:
    """Whole answers of `stanchion simulate --instant` to 64 connections."""
    port = free_port()
    words = [PYTHON, "-m", "stanchion", "simulate", "--instant", "--port", str(port)]
    with server(words, port, core=0) as running:
        found = [
            loads.whole(port, running.pid, connections=64, seconds=run.seconds(4))
            for _ in range(run.runs + 1)
        ][1:]
    per_s = statistics.median(each.per_s for each in found)
    cpu, busy = (
        statistics.median(each.cpu_us for each in found),
        statistics.median(each.busy for each in found),
    )
    return [
        Row(
            name="simulator, whole answers",
            unit="/s",
            ours=per_s,
            compared=per_s,
            as_="unit",
            least=5000,
            note=f"{cpu:.0f} µs of CPU each, {busy:.0%} of a core",
        )
    ]
