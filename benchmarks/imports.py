"""Row of the import: time and memory of a fresh interpreter that imports the client."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable

from benchmarks.figures import Row, Run, interleaved
from benchmarks.machine import PYTHON, on_core
from benchmarks.processes import Failed, environment

# `resource` alone would tell the peak of the parent on some systems
_LOOK = """
import json, time
started = time.perf_counter()
{what}
took_ms = (time.perf_counter() - started) * 1000
import resource, sys
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
try:
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            peak = int(line.split()[1]) / 1024
except OSError:
    pass
print(json.dumps([took_ms, peak]))
"""


def _fresh(what: str) -> Callable[[], tuple[float, float]]:
    def figure() -> tuple[float, float]:
        words = [PYTHON, "-c", _LOOK.format(what=what)]
        with on_core(0):
            done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
        if done.returncode:
            raise Failed(done.stderr[-500:])
        took_ms, peak = json.loads(done.stdout)
        return took_ms, peak

    return figure


def rows(run: Run) -> list[Row]:
    """Milliseconds and MB of `from stanchion import AsyncClient`; the name loads what a caller will need."""
    figures = [_fresh(what) for what in ("pass", "import stanchion", "from stanchion import AsyncClient")]
    for warm_up in figures:
        warm_up()
    bare, package, client = interleaved(run.runs * 2, *figures)
    bare_mb = statistics.median(mb for _, mb in bare)
    rows = [
        Row(
            name="import stanchion: time",
            unit="ms",
            ours=statistics.median(ms for ms, _ in package),
            compared=statistics.median(ms for ms, _ in package),
            as_="unit",
            most=100.0,
        )
    ]
    took = statistics.median(ms for ms, _ in client)
    name = "from stanchion import AsyncClient"
    rows.append(Row(name=f"{name}: time", unit="ms", ours=took, compared=took, as_="unit"))
    for label, found in (("import stanchion", package), (name, client)):
        mb = statistics.median(each for _, each in found)
        rows.append(
            Row(
                name=f"{label}: memory",
                unit="MB",
                ours=mb,
                reference=bare_mb,
                beside="bare Python",
                compared=mb,
                as_="unit",
                most=60.0,
            )
        )
    return rows
