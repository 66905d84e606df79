"""Loads on a server: whole answers by wrk, streams by a small C program; by Python where those are not there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec

from benchmarks import stream_load, whole_load
from benchmarks.machine import cpu_s, on_core
from benchmarks.payloads import EVENT, KEY, STREAM_END, STREAM_HEAD, TEXT_EVENTS
from benchmarks.processes import ROOT, Failed, environment, python

_BUILT = ROOT / ".bench" / "native"
_SOURCES = ROOT / "benchmarks" / "native"
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


class Loaded(msgspec.Struct, frozen=True):
    """What a server did under a load."""

    per_s: float  # requests, or events of streams
    cpu_us: float  # CPU time of the server for each
    busy: float  # share of its core that the server used
    p50_ms: float  # of an answer, or of the time to a stream's first event
    p99_ms: float
    per_read: float = 1.0  # events to a read of the client

    @property
    def of_a_core(self) -> float:
        """What a whole core does in a second: as `per_s`, but true too while others use the core."""
        return self.per_s / self.busy if self.busy > 0 else self.per_s  # nan where CPU time is not told


def whole(
    port: int, pid: int, *, connections: int, seconds: float, headers: Mapping[str, str] | None = None
) -> Loaded:
    """Ask for whole answers on so many connections.  More headers only wrk can send."""
    wrk = shutil.which("wrk")
    before = cpu_s(pid)
    if wrk is None:
        words = python(
            "benchmarks.whole_load", "--port", port, "--connections", connections, "--seconds", seconds
        )
        found = json.loads(_said(words))
    else:
        found = _wrk([wrk, "-t1", f"-c{connections}", f"-d{seconds:.0f}s"], port, headers or {})
    cpu = cpu_s(pid) - before
    if found["broken"] or not found["requests"]:
        raise Failed(f"a load of whole answers failed: {found}")
    each = cpu / found["requests"]
    return Loaded(found["per_s"], each * 1e6, each * found["per_s"], found["p50_ms"], found["p99_ms"])


def _wrk(words: Sequence[str], port: int, headers: Mapping[str, str]) -> dict[str, float]:
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", **headers}
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in sent.items()]
    script = _payload(
        "post.lua",
        "\n".join(['wrk.method = "POST"', *lines, f"wrk.body = [==[{whole_load.BODY.decode()}]==]"]).encode(),
    )
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    said = _said([*words, "--latency", "-s", str(script), url])

    def number(pattern: str) -> float:
        found = re.search(pattern, said)
        return float(found[1]) if found else 0.0

    def latency(percent: int) -> float:
        found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\b", said)
        return float(found[1]) * _UNITS[found[2]] if found else float("nan")

    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    broken = number(r"Non-2xx or 3xx responses: (\d+)") + sum(map(int, errors.groups() if errors else ()))
    return {
        "per_s": number(r"Requests/sec:\s+([\d.]+)"),
        "requests": number(r"(\d+) requests in"),
        "broken": broken,
        "p50_ms": latency(50),
        "p99_ms": latency(99),
    }


def streams(
    port: int,
    pid: int,
    *,
    count: int,
    seconds: float,
    ramp_s: float = 1.0,
    watch: Callable[[], object] | None = None,
) -> Loaded:
    """Keep so many streams open.  `watch` is called when all are, before the counted time ends."""
    native = program("stream_load")
    if native is not None:
        request = _payload("request", stream_load.REQUEST)
        words = [str(native), str(port), str(count), str(seconds), str(ramp_s), str(request)]
    else:
        words = python(
            "benchmarks.stream_load",
            "--port",
            port,
            "--streams",
            count,
            "--seconds",
            seconds,
            "--ramp",
            ramp_s,
        )
    with on_core(1):
        load = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT)
    with load:
        assert load.stdout is not None
        if load.stdout.readline() != "counting\n":
            raise Failed("the load of streams did not begin")
        before = cpu_s(pid)
        if watch is not None:
            watch()
        line = load.stdout.readline()
        cpu = cpu_s(pid) - before
    found = json.loads(line or "{}")
    if not found.get("events") or found["broken"]:
        raise Failed(f"a load of streams failed: {found}")
    return Loaded(
        found["events_per_s"],
        cpu / found["events"] * 1e6,
        cpu / found["seconds"],
        found["first_p50_ms"],
        found["first_p99_ms"],
        found["events"] / found["reads"],
    )


def stream_upstream(port: int, *, tick_ms: float) -> list[str]:
    """Return the command of the provider of streams: in C where there is a compiler."""
    native = program("stream_upstream")
    if native is None:
        return python("benchmarks.upstream", "--port", port, "--tick-ms", tick_ms)
    pieces = {"head": STREAM_HEAD, "event": EVENT, "end": STREAM_END}
    files = [str(_payload(name, data)) for name, data in pieces.items()]
    return [str(native), str(port), str(int(tick_ms * 1000)), str(TEXT_EVENTS), *files]


@cache
def program(name: str) -> Path | None:
    """Compile a C program of ours; None where that cannot be."""
    compiler = shutil.which("cc")
    if compiler is None or not Path("/proc/self/stat").exists():  # they need epoll
        return None
    _BUILT.mkdir(parents=True, exist_ok=True)
    built, source = _BUILT / name, _SOURCES / f"{name}.c"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        done = subprocess.run(
            [compiler, "-O2", "-o", str(built), str(source)], capture_output=True, check=False
        )
        if done.returncode:
            return None
    return built


def _payload(name: str, data: bytes) -> Path:
    _BUILT.mkdir(parents=True, exist_ok=True)
    file = _BUILT / name
    file.write_bytes(data)
    return file


def _said(words: Sequence[str]) -> str:
    with on_core(1):
        done = subprocess.run(words, capture_output=True, text=True, env=environment(), cwd=ROOT, check=False)
    if done.returncode:
        raise Failed(f"{words[0]}: {done.stderr[-500:]}")
    return done.stdout
