"""What a row knows of the machine: cores to stand on, CPU time and memory of a process."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
from collections.abc import Generator
from pathlib import Path

_PROC = Path("/proc")


def cores() -> list[int]:
    """Return the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return []


_ALL = cores()


@contextlib.contextmanager
def on_core(index: int) -> Generator[None]:
    """Let what is started in here stand on one core: 0 is measured, 1 carries upstream and load."""
    if len(_ALL) < 2:
        yield
        return
    os.sched_setaffinity(0, {_ALL[index]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, _ALL)


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process in seconds, all threads; nan where the system does not tell."""
    try:
        # in nanoseconds, by thread; a server's threads live as long as it does
        files = (_PROC / str(pid) / "task").iterdir()
        return sum(int((each / "schedstat").read_text().split()[0]) for each in files) / 1e9
    except (OSError, ValueError, IndexError):
        return float("nan")


def memory_kib(pid: int) -> float:
    """Return what a process holds in KiB: its proportional share (PSS), else its resident set."""
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
    except OSError:
        pass
    return resident_kib(pid)


def resident_kib(pid: int) -> float:
    """Return the resident set in KiB; nan where the system does not tell."""
    try:
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return float(line.split()[1])
    except OSError:
        pass
    return float("nan")


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def description() -> str:
    """Say on what was measured, in a line."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    pinned = "measured on one core, load and upstream on another" if len(_ALL) > 1 else "one core carries all"
    if not _ALL:
        pinned = "not pinned: this system cannot"
    return (
        f"{model}, {os.cpu_count()} cores ({pinned}), {platform.system()}, Python {platform.python_version()}"
    )


PYTHON = sys.executable
