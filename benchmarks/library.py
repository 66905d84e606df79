"""Rows of the client library: CPU per call and per stream event, beside bare aiohttp and the SDK."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks import loads
from benchmarks.figures import Row, Run, interleaved, ratio_row
from benchmarks.machine import free_port
from benchmarks.peers import python_of
from benchmarks.processes import Worker, environment, python, server, worker

_STREAMS = 64
_ROUNDS = 8  # streams that follow each other on each of them in one measurement
_PEER_SHARE = 4  # a peer that costs ten times as much makes fewer calls
# The pace of the provider: at the first an event is a network read of its own, and the loop is never idle
# for long: shown and not judged, since what a wake costs differs by half from pair to pair on a machine that
# is shared.  At the second a read brings several.
_PACES = ((3.0, "one to a read"), (0.0, "as fast as possible"))

_OURS = ("aiohttp", "stanchion")

Figure = Callable[[], float]


def _workers(stack: ExitStack, run: Run, base_url: str) -> dict[str, Worker]:
    names = [*_OURS, *(each for each in run.peers if each in ("openai", "litellm"))]
    found = {}
    for name in names:
        words = [str(python_of(name)), "-m", "benchmarks.library_worker", name, base_url]
        # a library must not look for its prices or settings in the network
        env = environment(LITELLM_LOCAL_MODEL_COST_MAP="True")
        if name == "litellm":
            env["PYTHONPATH"] = env["PYTHONPATH"].split(":")[0]
        found[name] = stack.enter_context(worker(words, core=0, env=env))
    return found


def _per_call(asked: Worker, calls: int, in_flight: int) -> Figure:
    def figure() -> float:
        found = asked.ask(stream=False, calls=calls, in_flight=in_flight)
        return found["cpu_s"] / found["calls"] * 1e6

    return figure


def _per_event(asked: Worker, streams: int) -> Figure:
    def figure() -> float:
        found = asked.ask(stream=True, calls=streams, in_flight=_STREAMS)
        return found["cpu_s"] / found["events"] * 1e6

    return figure


def whole_calls(run: Run) -> list[Row]:
    """CPU per call with 64 and with 500 in flight."""
    rows: list[Row] = []
    port = free_port()
    base_url = f"http://127.0.0.1:{port}/v1"
    with ExitStack() as stack:
        stack.enter_context(server(python("benchmarks.upstream", "--port", port), port, core=1))
        workers = _workers(stack, run, base_url)
        for in_flight in (64, 500):
            calls = run.times(6000)
            figures = [
                _per_call(asked, calls if name in _OURS else calls // _PEER_SHARE, in_flight)
                for name, asked in workers.items()
            ]
            for warm_up in figures:
                warm_up()
            found = dict(zip(workers, interleaved(run.runs, *figures), strict=True))
            name, ours = f"client, {in_flight} in flight: CPU per call", found["stanchion"]
            rows.append(ratio_row(name, "µs", found["aiohttp"], ours, beside="bare aiohttp + JSON", most=1.8))
            for peer in found.keys() - set(_OURS):
                most = 0.1 if peer == "openai" else None
                rows.append(ratio_row(name, "µs", found[peer], ours, beside=f"{peer} library", most=most))
    return rows


def streams(run: Run) -> list[Row]:
    """CPU per event of 64 streams, text asked for."""
    return [row for tick_ms, pace in _PACES for row in _streams(run, tick_ms, pace)]


def _streams(run: Run, tick_ms: float, pace: str) -> list[Row]:
    port = free_port()
    base_url = f"http://127.0.0.1:{port}/v1"
    with ExitStack() as stack:
        stack.enter_context(server(loads.stream_upstream(port, tick_ms=tick_ms), port, core=1))
        workers = _workers(stack, run, base_url)
        count = run.times(_ROUNDS) * _STREAMS
        figures = [
            _per_event(asked, count if name in _OURS else max(_STREAMS, count // _PEER_SHARE))
            for name, asked in workers.items()
        ]
        for warm_up in figures:
            warm_up()
        found = dict(zip(workers, interleaved(run.runs, *figures), strict=True))
    name = f"client, {_STREAMS} streams, {pace}: CPU per event"
    bare, ours = found["aiohttp"], found["stanchion"]
    more = [mine - other for mine, other in zip(ours, bare, strict=True)]
    rows = [
        Row(
            name=name,
            unit="µs",
            reference=statistics.median(bare),
            ours=statistics.median(ours),
            beside="bare aiohttp read",
            compared=statistics.median(more),
            as_="unit",
            most=None if tick_ms else 5.0,
            note="judged is the difference",
            ratios=more,
        )
    ]
    for peer in found.keys() - set(_OURS):
        most = 0.125 if peer == "openai" else None
        rows.append(
            ratio_row(name, "µs", found[peer], ours, beside=f"{peer} library", most=None if tick_ms else most)
        )
    return rows
