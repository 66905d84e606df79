"""What a row takes of memory that waits in a provider's batch: two jobs, each in a process that ends when all rows wait."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.batch import Place
from benchmarks.figures import Row, Run
from benchmarks.machine import free_port
from benchmarks.processes import python, server

_FEW, _MANY, _QUICK_MANY = 200_000, 1_000_000, 600_000
_WORK_S = 3600  # seconds that the provider takes for a batch: none comes back
_KIB = 1024


def rows(run: Run) -> list[Row]:
    """The peak of the longer job beyond that of the shorter one, by row: `stanchion simulate` plays the provider."""
    count, port = _QUICK_MANY if run.quick else _MANY, free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        server(
            python("stanchion", "simulate", "--instant", "--batch-work", _WORK_S, "--port", port),
            port,
            core=1,
        ),
    ):
        place = Place(Path(folder), port)
        few, many = (place.do("lane", place.short_rows(each), preset="simulator") for each in (_FEW, count))
    each = (many["peak_kib"] - few["peak_kib"]) * _KIB / (count - _FEW)
    return [
        Row(
            name=f"batch lane, {count:,} rows that wait: memory for a row",
            unit="B",
            ours=each,
            compared=each,
            as_="unit",
            most=20.0,
            note=f"beyond {few['peak_kib'] / _KIB:.0f} MiB for {_FEW:,} rows; {many['cpu_s'] / count * 1e6:.0f} µs of CPU a row until it waits",
        )
    ]
