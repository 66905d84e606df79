"""A Ray cluster of two nodes, each of one CPU, that only those may join who have its token."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.acceptance.served import environ
from tests.acceptance.stage import free_port

_THERE = importlib.util.find_spec("ray") is not None
_WHEELS = sys.version_info < (3, 15)  # Ray's, as in pyproject.toml
needs_ray = pytest.mark.skipif(
    not _THERE and not (_WHEELS and os.environ.get("CI")),
    reason="Ray is not installed: make test" if _WHEELS else "Ray has no wheels for this Python",
)

_RAY = Path(sys.executable).with_name("ray")
_STARTED = "Ray runtime started"
_SMALL = (
    "--object-store-memory",
    str(100 * 1024 * 1024),
    "--disable-usage-stats",
    "--include-log-monitor=false",
)


class RayCluster:
    """`ray start --head`, and `ray start` once more beside it; `cpus` is how many each has."""

    def __init__(self, *, nodes: int = 2, cpus: int = 1) -> None:
        self._nodes = nodes
        self._cpus = cpus
        self._started = list[subprocess.Popen[str]]()

    def __enter__(self) -> Self:
        # not pytest's folder: Ray's sockets lie in it, and a socket's path has 107 characters at most
        self._folder = tempfile.TemporaryDirectory(prefix="ray-")
        self._at = Path(self._folder.name)
        (self._at / "token").write_text(secrets.token_hex(32))
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self._at / "token")}
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        head = [
            "--head",
            "--port",
            str(port),
            "--temp-dir",
            str(self._at),
            "--include-dashboard=false",
            "--no-monitor",
        ]
        try:
            self._start(*head)
            for _ in range(1, self._nodes):
                self._start("--address", self.address)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._end()

    def drivers(self) -> int:
        """How many programs have joined it so far."""
        return len(list(self._at.glob("session_2*/logs/python-core-driver-*.log")))

    def _start(self, *arguments: str) -> None:
        ports = ("--dashboard-agent-listen-port", str(free_port()))
        process = subprocess.Popen(
            [_RAY, "start", "--block", "--num-cpus", str(self._cpus), *_SMALL, *ports, *arguments],
            env=environ(self._at, **self.token),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        assert process.stdout is not None
        said = list[str]()
        for line in process.stdout:  # it ends with the process; the test's timeout bounds it
            said.append(line)
            if _STARTED in line:
                return
        raise AssertionError("".join(said))

    def _end(self) -> None:
        for each in reversed(self._started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)  # SIGTERM takes 10 s where a node has workers
            each.communicate()
        self._folder.cleanup()
