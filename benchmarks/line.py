"""Rows of the line: what a turn costs, whether a flood hurts others, and what one pays who need not wait."""

from __future__ import annotations

from benchmarks.figures import Row, Run, interleaved, ratio_row
from benchmarks.machine import free_port
from benchmarks.processes import Worker, python, server, worker

_FEW, _MANY = 100, 20_000
_CALLERS, _FLOOD = 8, 800  # calls that are always waiting: a hundred for each of all others'
_ADMISSION_MOST, _FLOOD_MOST, _PASS_MOST_US = 1.2, 2.0, 15.0
_DELAY_MS = 20


def rows(run: Run) -> list[Row]:
    """Measure the three."""
    port = free_port()
    words = python("benchmarks.upstream", "--port", port, "--tick-ms", 1, "--delay-ms", _DELAY_MS)
    with server(words, port, core=1), worker(python("benchmarks.line_worker"), core=0) as waits:
        return [_admission(run, waits), _flooded(run, waits, port), _passing(run, waits)]


def _admission(run: Run, waits: Worker) -> Row:
    few, many = interleaved(
        run.runs,
        *(lambda count=count: waits.ask(do="admit", waiting=count)["figure"] for count in (_FEW, _MANY)),
    )
    return ratio_row(
        f"{_MANY:,} waiting: CPU per admission",
        "µs",
        few,
        many,
        beside=f"{_FEW} waiting",
        most=_ADMISSION_MOST,
        note="in process; a call comes, waits among 50 callers' and is answered",
    )


def _flooded(run: Run, waits: Worker, port: int) -> Row:
    def measure(flood: int) -> float:
        order = {"base_url": f"http://127.0.0.1:{port}/v1", "callers": _CALLERS, "flood": flood}
        return waits.ask(do="flood", seconds=run.seconds(8.0), **order)["figure"]

    alone, beside = interleaved(run.runs, lambda: measure(0), lambda: measure(_FLOOD))
    return ratio_row(
        "one caller floods 100:1: the others' p99",
        "ms",
        [each * 1000 for each in alone],
        [each * 1000 for each in beside],
        beside="the others alone",
        most=_FLOOD_MOST,
        note=f"over sockets; {_CALLERS} callers with a call each, one with {_FLOOD}, 2 places at the provider",
    )


def _passing(run: Run, waits: Worker) -> Row:
    figures = [waits.ask(do="pass")["figure"] for _ in range(run.runs)]
    figure = sorted(figures)[len(figures) // 2]
    return Row(
        name="line and quota, nobody waits: CPU per call",
        unit="µs",
        ours=figure,
        compared=figure,
        as_="unit",
        most=_PASS_MOST_US,
        note="in process, over an endpoint that answers at once",
    )
