"""curator's online processor beside a job of ours: the same rows, the same provider, as many calls open at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.batch_worker import WORKERS
from benchmarks.figures import Row, Run, interleaved, ratio_row
from benchmarks.peers import python_of
from benchmarks.processes import Failed, environment, worker

_TIMES = 8.0


def rows(run: Run, base_url: str, source: Path, count: int, ours: Callable[[], float]) -> list[Row]:
    """Return the row where curator is asked for; without it the row says why."""
    if not {"curator"} & {*run.peers, *run.missing}:
        return []
    name = f"batch, {count:,} rows without limits: beside curator"
    if "curator" in run.missing:
        return [
            _alone(name, count / ours(), f"curator could not be installed: {run.missing['curator'][:200]}")
        ]
    versions = set[str]()

    def theirs() -> float:
        told = _ask(base_url, source)
        versions.add(told["version"])
        return told["seconds"]

    try:
        theirs()  # the first run after it is installed compiles it
    except (Failed, OSError) as error:
        run.say(f"curator did not run: {error} {' '.join(getattr(error, '__notes__', ()))[-600:]}")
        return [_alone(name, count / ours(), f"curator did not run: {str(error)[:200]}")]
    found = interleaved(run.runs, theirs, ours)
    rates = [[count / seconds for seconds in each] for each in found]
    note = f"curator {', '.join(versions)}; what either imports is not in its time"
    return [ratio_row(name, "1/s", rates[0], rates[1], beside="curator", least=_TIMES, note=note)]


def _alone(name: str, rate: float, note: str) -> Row:
    return Row(name=name, unit="1/s", ours=rate, compared=rate, as_="unit", note=note)


def _ask(base_url: str, source: Path) -> dict[str, Any]:
    """Let it do the rows once, in a home of its own: it keeps there what it would do again."""
    with TemporaryDirectory() as folder:
        env = environment(
            HOME=folder,
            CURATOR_DISABLE_CACHE="true",
            TELEMETRY_ENABLED="false",  # it must look for nothing in the network
            LITELLM_LOCAL_MODEL_COST_MAP="True",
            NO_PROXY="127.0.0.1",
        )
        env["PYTHONPATH"] = env["PYTHONPATH"].split(os.pathsep)[0]
        order = {"base_url": base_url, "source": str(source), "folder": folder, "most": WORKERS}
        words = [str(python_of("curator")), "-m", "benchmarks.batch_curator_worker"]
        with worker(words, core=0, env=env) as running:
            return running.ask(**order)
