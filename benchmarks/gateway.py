"""Rows of the gateway: `stanchion serve` as a user starts it, beside a bare pass-through on the same server."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from subprocess import Popen
from tempfile import TemporaryDirectory

from benchmarks import loads
from benchmarks.figures import Row, Run, interleaved, ratio_row
from benchmarks.loads import Loaded
from benchmarks.machine import PYTHON, free_port, memory_kib
from benchmarks.payloads import KEY
from benchmarks.peers import portkey_script
from benchmarks.processes import environment, python, server

_STREAMS = 1000
_SATURATED = 0.9  # of a core
_PACE_MS = 100  # of the paced streams: below what either gateway can pass, so that nothing queues


class Served:
    """A gateway that runs."""

    def __init__(self, port: int, running: Popen[str], headers: Mapping[str, str] | None = None) -> None:
        self.port = port
        self.pid = running.pid
        self._headers = headers  # what a call must say beside what all say

    def whole(self, seconds: float) -> Callable[[], Loaded]:
        """Return a measurement of whole answers."""
        return lambda: loads.whole(
            self.port, self.pid, connections=64, seconds=seconds, headers=self._headers
        )

    def streams(self, seconds: float, ramp_s: float = 1.0) -> Callable[[], Loaded]:
        """Return a measurement of many streams at once."""
        return lambda: loads.streams(self.port, self.pid, count=_STREAMS, seconds=seconds, ramp_s=ramp_s)


@contextmanager
def stanchion(base_url: str, *, log_level: str = "info", books: bool = False) -> Generator[Served]:
    """Run `stanchion serve`; its log goes to a file.  With `books` the ledger, the cache and shared flights are on."""
    port = free_port()
    words = [PYTHON, "-m", "stanchion", "serve", "--port", str(port), "--log-level", log_level]
    with TemporaryDirectory() as folder:  # no file of the user's who measures
        env = environment(
            OPENAI_API_KEY=KEY,
            OPENAI_BASE_URL=base_url,
            STANCHION_STORES_KEYS="memory",
            STANCHION_STORES_LEDGER=f"sqlite:///{folder}/ledger.db" if books else "off",
            STANCHION_CACHE_USE="repeatable" if books else "off",
            STANCHION_COALESCE_ON="true" if books else "false",
        )
        with server(words, port, core=0, env=env) as running:
            yield Served(port, running)


@contextmanager
def pass_through(base_url: str) -> Generator[Served]:
    """Run the reference."""
    port = free_port()
    words = python("benchmarks.passthrough", "--port", port, "--base-url", base_url)
    with server(words, port, core=0) as running:
        yield Served(port, running)


@contextmanager
def portkey(base_url: str) -> Generator[Served]:
    """Run Portkey's gateway; where it sends a call is said by the call's headers."""
    port = free_port()
    words = ["node", str(portkey_script()), f"--port={port}", "--headless"]
    with server(words, port, core=0) as running:
        yield Served(port, running, {"x-portkey-provider": "openai", "x-portkey-custom-host": base_url})


@contextmanager
def _upstream(words: Callable[[int], Sequence[str]]) -> Generator[str]:
    port = free_port()
    with server(words(port), port, core=1):
        yield f"http://127.0.0.1:{port}/v1"


def _note(reference: Sequence[Loaded], ours: Sequence[Loaded]) -> str:
    def middle(of: Sequence[Loaded]) -> str:
        cpu, busy, per_s = (
            statistics.median(getattr(each, name) for each in of) for name in ("cpu_us", "busy", "per_s")
        )
        return f"{cpu:.1f} µs each, {per_s:,.0f}/s at {busy:.0%} of the core"

    return f"{middle(reference)}; ours {middle(ours)}"


def whole_answers(run: Run) -> list[Row]:
    """Requests a second of one worker on one core, 64 connections."""
    seconds = run.seconds(4)
    with ExitStack() as stack:
        base_url = stack.enter_context(_upstream(lambda port: python("benchmarks.upstream", "--port", port)))
        systems = [
            pass_through(base_url),
            stanchion(base_url),
            stanchion(base_url, log_level="warning"),
            stanchion(base_url, books=True),
        ]
        if "portkey" in run.peers:
            systems.append(portkey(base_url))
        figures = [stack.enter_context(each).whole(seconds) for each in systems]
        for warm_up in figures:
            warm_up()
        bare, info, warning, books, *peer = interleaved(run.runs, *figures)
    beside = "ASGI + aiohttp pass-through"
    rows = [
        _whole_row(f"gateway, whole answers, log level {level}", bare, mine, beside=beside, least=0.65)
        for level, mine in (("info", info), ("warning", warning))
    ]
    # what those cost a call has rows of its own: `money` and `cache`
    rows.append(
        _whole_row("gateway, whole answers, ledger, cache and shared flights on", bare, books, beside=beside)
    )
    rows += [
        _whole_row("gateway, whole answers, log level info", each, info, beside="Portkey") for each in peer
    ]
    return rows


def _whole_row(name: str, reference: Sequence[Loaded], ours: Sequence[Loaded], **more: object) -> Row:
    per_s = [[each.of_a_core for each in of] for of in (reference, ours)]
    return ratio_row(name, "/s", *per_s, note=_note(reference, ours), **more)


def streams(run: Run) -> list[Row]:
    """Events a second of 1,000 streams as fast as they can be passed; the time to the first one."""
    return _streams(run, 0.0, "as fast as possible")


def paced_streams(run: Run) -> list[Row]:
    """The same at the pace of a provider: CPU for each event, time to the first one."""
    return _streams(run, _PACE_MS, f"{1000 / _PACE_MS:.0f} events/s each")


def _streams(run: Run, tick_ms: float, pace: str) -> list[Row]:
    seconds = run.seconds(6)
    ramp_s = 1.0 if not tick_ms else 10.0  # starts spread over a stream's life
    with (
        _upstream(lambda port: loads.stream_upstream(port, tick_ms=tick_ms)) as base_url,
        pass_through(base_url) as bare,
        stanchion(base_url) as ours,
    ):
        figures = [each.streams(seconds, ramp_s) for each in (bare, ours)]
        for warm_up in figures:
            warm_up()
        reference, mine = interleaved(run.runs, *figures)
    name, beside = f"gateway, {_STREAMS:,} streams, {pace}", "ASGI + aiohttp pass-through"
    per_read = statistics.median(each.per_read for each in mine)
    note = f"{_note(reference, mine)}; {per_read:.1f} events to a read"
    if not tick_ms and statistics.median(each.busy for each in reference) < _SATURATED:
        note += "; the reference was not saturated and could pass more: measure again on a quiet machine"
    first = ratio_row(
        f"{name}: first event p99",
        "ms",
        [each.p99_ms for each in reference],
        [each.p99_ms for each in mine],
        beside=beside,
        # at a pace the processor idles half of the time, and its slowest hundredth tells of the machine's guests
        most=None if tick_ms else 2.0,
    )
    if tick_ms:
        cpu = [[each.cpu_us for each in of] for of in (reference, mine)]
        return [ratio_row(f"{name}: CPU per event", "µs", *cpu, beside=beside, note=note), first]
    per_s = [[each.of_a_core for each in of] for of in (reference, mine)]
    return [ratio_row(f"{name}: events", "/s", *per_s, beside=beside, least=0.7, note=note), first]


def memory(run: Run) -> list[Row]:
    """What 1,000 open slow streams hold: KiB each over the idle process."""
    found: dict[str, float] = {}
    with _upstream(lambda port: loads.stream_upstream(port, tick_ms=1000)) as base_url:
        for name, start in (("bare", pass_through), ("ours", stanchion)):
            with start(base_url) as served:
                idle = memory_kib(served.pid)
                loaded = 0.0

                def look(served: Served = served) -> None:
                    nonlocal loaded
                    loaded = memory_kib(served.pid)

                seconds = run.seconds(6)
                loads.streams(served.port, served.pid, count=_STREAMS, seconds=seconds, watch=look)
                found[name] = (max(loaded, memory_kib(served.pid)) - idle) / _STREAMS
    return [
        Row(
            name=f"gateway, {_STREAMS:,} slow streams: memory of each",
            unit="KiB",
            reference=found["bare"],
            ours=found["ours"],
            beside="ASGI + aiohttp pass-through; both over their idle process",
            compared=found["ours"],
            as_="unit",
            most=40.0,
        )
    ]
