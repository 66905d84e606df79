"""Rows of the cache: what a hit costs, and what many readers of one stream cost beside as many streams."""

from __future__ import annotations

import json
import statistics
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

from benchmarks.figures import Row, Run, interleaved, ratio_row
from benchmarks.machine import PYTHON, cpu_s, free_port
from benchmarks.payloads import KEY
from benchmarks.processes import Failed, Worker, environment, python, server, worker

Streams = Literal["alike", "different"]
_STREAMS = 200
_HIT_MOST_US, _ALIKE_MOST = 40.0, 0.3
_TICK_MS = 20  # between two events of a stream: each is a read of its own, and nothing queues


def rows(run: Run) -> list[Row]:
    """Measure hits and shared streams, in the library and through the gateway."""
    port, tick_port = free_port(), free_port()
    with ExitStack() as stack:
        for each, tick_ms in ((port, 0), (tick_port, _TICK_MS)):
            words = python("benchmarks.upstream", "--port", each, "--tick-ms", tick_ms)
            stack.enter_context(server(words, each, core=1))
        inside = stack.enter_context(worker(python("benchmarks.cache_worker"), core=0))
        load = stack.enter_context(worker(python("benchmarks.cache_worker"), core=1))
        found = [_hits(run, inside, port)]
        with _gateway(port) as (served, pid):
            found.append(_gateway_hits(run, load, served, pid))
        found.append(_alike(run, tick_port, "client", lambda which: _own_cpu(inside, tick_port, which)))
        with _gateway(tick_port, STANCHION_CACHE_USE="off") as (served, pid):
            found.append(
                _alike(run, tick_port, "gateway", lambda which: _served_cpu(load, served, pid, which))
            )
    return found


def _hits(run: Run, inside: Worker, port: int) -> Row:
    order = {"do": "hits", "calls": run.times(30_000), "base_url": f"http://127.0.0.1:{port}/v1"}
    figures = [inside.ask(**order)["cpu_us"] for _ in range(run.runs + 1)][1:]
    return _row("cache hit, client: CPU per call", figures, "a kept answer of 1 KB, its text and usage read")


def _gateway_hits(run: Run, load: Worker, port: int, pid: int) -> Row:
    figures = list[float]()
    for _ in range(run.runs + 1):
        before = cpu_s(pid)
        calls = load.ask(do="load_hits", port=port, calls=run.times(12_000), connections=64)["calls"]
        figures.append((cpu_s(pid) - before) / calls * 1e6)
    return _row("cache hit, gateway: CPU per call", figures[1:], "64 connections; HTTP included", most=None)


def _row(name: str, figures: list[float], note: str, most: float | None = _HIT_MOST_US) -> Row:
    figure = statistics.median(figures)
    return Row(name=name, unit="µs", ours=figure, compared=figure, as_="unit", most=most, note=note)


def _alike(run: Run, upstream: int, where: str, measure: Callable[[Streams], float]) -> Row:
    for warm_up in ("different", "alike"):
        measure(warm_up)
    before = _asked(upstream)
    measure("alike")
    calls = _asked(upstream) - before
    if calls != 1:
        raise Failed(f"{_STREAMS} streams that are alike were {calls} calls upstream")
    different, alike = interleaved(run.runs, lambda: measure("different"), lambda: measure("alike"))
    return ratio_row(
        f"{_STREAMS} identical streams, {where}: CPU",
        "ms",
        [each * 1000 for each in different],
        [each * 1000 for each in alike],
        beside=f"{_STREAMS} different ones",
        most=_ALIKE_MOST,
        note="one call upstream; every reader reads every event",
    )


def _own_cpu(inside: Worker, port: int, which: Streams) -> float:
    order = {"do": "streams", "count": _STREAMS, "base_url": f"http://127.0.0.1:{port}/v1"}
    return inside.ask(alike=which == "alike", **order)["cpu_s"]


def _served_cpu(load: Worker, port: int, pid: int, which: Streams) -> float:
    before = cpu_s(pid)
    load.ask(do="load_streams", port=port, count=_STREAMS, alike=which == "alike")
    return cpu_s(pid) - before


def _asked(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=5) as answer:
        return json.loads(answer.read())["served"]


class _gateway:  # noqa: N801 - used as a function
    """Run `stanchion serve` over an upstream; gives its port and its process."""

    def __init__(self, upstream: int, **more: str) -> None:
        self._port = free_port()
        words = [PYTHON, "-m", "stanchion", "serve", "--port", str(self._port), "--log-level", "warning"]
        env = environment(
            OPENAI_API_KEY=KEY,
            OPENAI_BASE_URL=f"http://127.0.0.1:{upstream}/v1",
            STANCHION_STORES_KEYS="memory",
            **more,
        )
        self._running = server(words, self._port, core=0, env=env)

    def __enter__(self) -> tuple[int, int]:
        return self._port, self._running.__enter__().pid

    def __exit__(self, *error: object) -> None:
        self._running.__exit__(None, None, None)
