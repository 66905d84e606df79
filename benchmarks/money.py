"""Rows of callers' limits, budgets and the ledger: what they cost a call, and how often it waits for Redis."""

from __future__ import annotations

import statistics
import tempfile

from benchmarks.common_limits import redis_server
from benchmarks.figures import Row, Run, interleaved
from benchmarks.machine import free_port
from benchmarks.processes import python, server, worker

_CALLS = 20_000
_MOST_US = 25.0
_TRIP_CALLS = 200


def rows(run: Run) -> list[Row]:
    """Measure both."""
    port, calls = free_port(), run.times(_CALLS)
    with tempfile.TemporaryDirectory() as folder:
        words = [redis_server(), "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "no"]
        with server(words, port, core=1), worker(python("benchmarks.money_worker"), core=0) as asks:
            for warm_up in ("on", "off"):
                asks.ask(do=warm_up, calls=calls // 4)
            off, on = interleaved(
                run.runs,
                lambda: asks.ask(do="off", calls=calls)["figure"],
                lambda: asks.ask(do="on", calls=calls)["figure"],
            )
            trips = asks.ask(do="trips", port=port, calls=_TRIP_CALLS)["figure"]
    more = statistics.median(with_ - without for with_, without in zip(on, off, strict=True))
    return [
        Row(
            name="limits, a budget and the ledger: CPU per call",
            unit="µs",
            reference=statistics.median(off),
            beside="without them",
            ours=statistics.median(on),
            compared=more,
            as_="unit",
            most=_MOST_US,
            note="judged is the difference; in process, three levels with a limit each, a line in SQLite, "
            "its thread counted",
        ),
        Row(
            name="limits, a budget and the quota on Redis: round trips that a call waits for",
            unit="a call",
            ours=trips,
            compared=trips,
            as_="unit",
            most=1.0,
            note="counted by Redis itself; one step takes all of it or nothing",
        ),
    ]
