"""Rows of the cache: what a hit costs, and what many readers of one stream cost beside as many streams."""

from __future__ import annotations

import json
import statistics
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Generic, Literal, TypeVar

import msgspec

from benchmarks import cache_peers
from benchmarks.figures import Row, Run, interleaved, ratio_row
from benchmarks.machine import PYTHON, cpu_s, free_port
from benchmarks.payloads import KEY
from benchmarks.processes import Failed, Worker, environment, python, server, worker

Streams = Literal["alike", "different"]
_STREAMS = 200
_HIT_MOST_US, _HIT_LEAST_PER_S, _ALIKE_MOST = 40.0, 6_000.0, 0.3
_CONNECTIONS = 64
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
        found = [_hits(run, inside, port), _gateway_hits(run, load, port)]
        found.append(_alike(run, tick_port, "client", lambda which: _own_cpu(inside, tick_port, which)))
        with _gateway(tick_port, STANCHION_CACHE_USE="off") as (served, pid):
            found.append(
                _alike(run, tick_port, "gateway", lambda which: _served_cpu(load, served, pid, which))
            )
    return found


def _hits(run: Run, inside: Worker, port: int) -> Row:
    base_url = f"http://127.0.0.1:{port}/v1"

    def ours() -> float:
        return inside.ask(do="hits", calls=run.times(30_000), base_url=base_url)["cpu_us"]

    with _beside(run, "library", cache_peers.library) as peer:
        theirs = None
        if peer.running is not None:
            asked = peer.running
            theirs = lambda: asked.ask(calls=run.times(3_000), base_url=base_url)["cpu_us"]  # noqa: E731
        # each turn of ours is a client of its own, whose first call is not in the figure
        mine, other = _in_turns(run, port, ours, theirs, asked=run.runs)
    return _hit_row(
        "cache hit, client: CPU per call",
        "µs",
        mine,
        other,
        most=_HIT_MOST_US,
        notes=("a kept answer of 1 KB, its text and usage read", peer.note),
    )


def _gateway_hits(run: Run, load: Worker, port: int) -> Row:
    def of_a_core(served: int, pid: int, calls: int) -> float:
        """What a core answers in a second: the calls over the CPU time that they took."""
        before = cpu_s(pid)
        load.ask(do="load_hits", port=served, calls=calls, connections=_CONNECTIONS)
        return calls / (cpu_s(pid) - before)

    def proxy() -> AbstractContextManager[tuple[int, int]]:
        return cache_peers.proxy(f"http://127.0.0.1:{port}/v1")

    with _gateway(port) as served, _beside(run, "proxy", proxy) as peer:
        theirs = None
        if peer.running is not None:
            asked = peer.running
            theirs = lambda: of_a_core(*asked, run.times(900))  # noqa: E731
        mine, other = _in_turns(run, port, lambda: of_a_core(*served, run.times(12_000)), theirs)
    each_us = f"{1e6 / statistics.median(mine):.0f} µs of CPU each"
    if other:
        each_us += f", LiteLLM's {1e6 / statistics.median(other):,.0f}"
    return _hit_row(
        "cache hit, gateway: on a core",
        "/s",
        mine,
        other,
        least=_HIT_LEAST_PER_S,
        notes=(f"{_CONNECTIONS} connections; HTTP and the ledger included; {each_us}", peer.note),
    )


Running = TypeVar("Running")


class _Peer(msgspec.Struct, Generic[Running], frozen=True):
    """LiteLLM beside us, or why not."""

    running: Running | None
    note: str = ""


@contextmanager
def _beside(
    run: Run, part: str, start: Callable[[], AbstractContextManager[Running]]
) -> Generator[_Peer[Running]]:
    """Run a part of LiteLLM where it is asked for; a row without it says so."""
    if "litellm" in run.missing:
        yield _Peer(None, f"LiteLLM could not be installed: {run.missing['litellm'][:200]}")
        return
    if "litellm" not in run.peers:
        yield _Peer(None, "LiteLLM beside it with --peers litellm")
        return
    with ExitStack() as stack:
        try:
            peer = _Peer(stack.enter_context(start()))
        except (Failed, OSError) as error:
            peer = _Peer[Running](None, f"LiteLLM's {part} did not start: {str(error)[:200]}")
            run.say(f"{peer.note} {' '.join(getattr(error, '__notes__', ()))[-600:]}")
        yield peer


def _in_turns(
    run: Run, upstream: int, ours: Callable[[], float], theirs: Callable[[], float] | None, asked: int = 0
) -> tuple[list[float], list[float]]:
    """Measure both, once to warm up.  Raises Failed if more calls than `asked` were sent upstream."""
    systems = [ours] if theirs is None else [ours, theirs]
    for warm_up in systems:
        warm_up()
    before = _asked(upstream)
    found = interleaved(run.runs, *systems)
    if missed := _asked(upstream) - before - asked:
        raise Failed(f"{missed} calls were not answered out of a cache")
    return found[0], found[1] if theirs else []


def _hit_row(
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    notes: Sequence[str],
    most: float | None = None,
    least: float | None = None,
) -> Row:
    """Return the row: judged is our figure, LiteLLM's stands beside it."""
    figure = statistics.median(ours)
    return Row(
        name=name,
        unit=unit,
        reference=statistics.median(theirs) if theirs else None,
        ours=figure,
        beside="a hit of LiteLLM's cache in memory" if theirs else "",
        compared=figure,
        as_="unit",
        most=most,
        least=least,
        note="; ".join(filter(None, notes)),
        ratios=[mine / other for mine, other in zip(ours, theirs, strict=False)],
    )


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


@contextmanager
def _gateway(upstream: int, **more: str) -> Generator[tuple[int, int]]:
    """Run `stanchion serve` over an upstream, with everything on; gives its port and its process."""
    port = free_port()
    words = [PYTHON, "-m", "stanchion", "serve", "--port", str(port), "--log-level", "warning"]
    with TemporaryDirectory() as folder:
        env = environment(
            OPENAI_API_KEY=KEY,
            OPENAI_BASE_URL=f"http://127.0.0.1:{upstream}/v1",
            STANCHION_STORES_KEYS="memory",
            XDG_STATE_HOME=folder,  # the ledger is written there
            **more,
        )
        with server(words, port, core=0, env=env) as running:
            yield port, running.pid
