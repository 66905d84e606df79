"""Rows of the client library: CPU per call and per stream event, beside bare aiohttp and the SDK."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.figures import Row, Run, interleaved, ratio_row
from benchmarks.machine import free_port
from benchmarks.peers import python_of
from benchmarks.processes import Worker, environment, python, server, worker

_TICK_MS = 20  # each stream gets an event in each: 50 events a second, one to a network read
_STREAMS = 64
_PEER_SHARE = 4  # a peer that costs ten times as much makes fewer calls

Figure = Callable[[], float]


def _workers(stack: ExitStack, run: Run, base_url: str) -> dict[str, Worker]:
    names = ["aiohttp", "stanchion", *(each for each in run.peers if each in ("openai", "litellm"))]
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
        found = asked.ask(stream=True, calls=streams, in_flight=streams)
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
                _per_call(
                    asked, calls if name in ("aiohttp", "stanchion") else calls // _PEER_SHARE, in_flight
                )
                for name, asked in workers.items()
            ]
            for warm_up in figures:
                warm_up()
            found = dict(zip(workers, interleaved(run.runs, *figures), strict=True))
            name, ours = f"client, {in_flight} in flight: CPU per call", found["stanchion"]
            rows.append(ratio_row(name, "µs", found["aiohttp"], ours, beside="bare aiohttp + JSON", most=1.8))
            for peer in found.keys() - {"aiohttp", "stanchion"}:
                most = 0.1 if peer == "openai" else None
                rows.append(ratio_row(name, "µs", found[peer], ours, beside=f"{peer} library", most=most))
    return rows


def streams(run: Run) -> list[Row]:
    """CPU per event of 64 streams, text asked for."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}/v1"
    with ExitStack() as stack:
        words = python("benchmarks.upstream", "--port", port, "--tick-ms", _TICK_MS)
        stack.enter_context(server(words, port, core=1))
        workers = _workers(stack, run, base_url)
        figures = [_per_event(asked, _STREAMS) for asked in workers.values()]
        for warm_up in figures:
            warm_up()
        found = dict(zip(workers, interleaved(run.runs, *figures), strict=True))
    name, bare, ours = f"client, {_STREAMS} streams: CPU per event", found["aiohttp"], found["stanchion"]
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
            most=5.0,
            note="judged is the difference",
            ratios=more,
        )
    ]
    for peer in found.keys() - {"aiohttp", "stanchion"}:
        most = 0.125 if peer == "openai" else None
        rows.append(ratio_row(name, "µs", found[peer], ours, beside=f"{peer} library", most=most))
    return rows
