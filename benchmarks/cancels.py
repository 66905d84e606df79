"""Rows of cancellation: 10,000 calls ended at random moments leave nothing open, and no memory behind."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from benchmarks.figures import Row, Run
from benchmarks.machine import free_port
from benchmarks.processes import python, server, worker

_CALLS = 10_000
_DELAY_MS = 20  # answers come after up to so long; a call is given up to twice that
_TICK_MS = 1  # a stream takes a tenth of a second: most are cancelled in the middle
_LONGEST_S = 0.06
_GROWTH_MOST = 5.0  # percent of resident memory, from the first half to the second


def rows(run: Run) -> list[Row]:
    """Cancel twice 5,000 calls; count what is left here and at the provider."""
    port, half = free_port(), _CALLS // 2
    delays = ("--tick-ms", _TICK_MS, "--delay-ms", _DELAY_MS)
    words = python("benchmarks.upstream", "--port", port, *delays)
    with (
        server(words, port, core=1),
        worker(
            python("benchmarks.cancel_worker", f"http://127.0.0.1:{port}/v1", _LONGEST_S), core=0
        ) as calls,
    ):
        before = calls.ask(calls=0)
        first, second = calls.ask(calls=half), calls.ask(calls=half)
        upstream = _stats(port)
    left = _left(before, second, upstream)
    growth = (second["resident_kib"] / first["resident_kib"] - 1) * 100
    how = (
        f"{second['cancelled']:,} cancelled, {second['completed']:,} came first, {second['failed']:,} failed"
    )
    total = sum(left.values())
    return [
        Row(
            name=f"{_CALLS:,} calls cancelled at random moments: left open",
            unit="",
            ours=total,
            compared=total,
            as_="unit",
            most=0,
            note=f"{how}; " + ", ".join(f"{name} {count:g}" for name, count in left.items()),
        ),
        Row(
            name=f"{_CALLS:,} calls cancelled: memory of the second half over the first",
            unit="%",
            ours=growth,
            compared=growth,
            as_="unit",
            most=_GROWTH_MOST,
            note=f"{first['resident_kib'] / 1024:.1f} MB, then {second['resident_kib'] / 1024:.1f} MB resident",
        ),
    ]


def _left(before: dict[str, Any], after: dict[str, Any], upstream: dict[str, int]) -> dict[str, float]:
    """Return what should be nothing.  Idle connections are kept for the next call; they are no leak."""
    return {
        "busy connections": after["busy_connections"],
        "sockets that are no idle connection": after["sockets"]
        - after["idle_connections"]
        - before["sockets"]
        + before["idle_connections"],
        "calls counted as open": after["calls_open"],
        "in flight at the endpoint": after["in_flight"],
        "alarms": after["alarms"],
        "tasks": after["tasks"] - before["tasks"],
        "streams open at the provider": upstream["streams"],
        "requests waiting at the provider": upstream["waiting"],
    }


def _stats(port: int) -> dict[str, int]:
    time.sleep(0.2)  # noqa: TID251 - no loop here
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=5) as answer:
        return json.loads(answer.read())
