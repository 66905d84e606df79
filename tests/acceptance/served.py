"""`stanchion serve` as a user runs it: the process, its address, its log, and the processes below it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = [sys.executable, "-m", "stanchion"]
_pause = threading.Event()


def wait_for(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until what happens in another process has happened."""
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        _pause.wait(0.02)


def environ(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a machine on which nothing is configured."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(home), "LANG": "C.UTF-8", "STANCHION_GATEWAY_DRAIN_NOTICE_S": "0", **more}


def run(home: Path, *arguments: str, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in an empty folder."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        input=given,
        capture_output=True,
        text=True,
        cwd=home,
        env=environ(home, **more),
        timeout=15,
        check=False,
    )


class Served:
    """A running `stanchion serve`."""

    def __init__(self, home: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self._home = home
        self._arguments = arguments
        self._environ = dict(environ or {})

    def __enter__(self) -> Self:
        self._log_file = self._home / "log"
        with self._log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "serve", "--port", "0", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self._home,
                env=environ(self._home, **self._environ),
            )
        assert self.process.stdout is not None
        self.origin = self.process.stdout.readline().strip()  # ends with the process, if that fails
        assert self.origin.startswith("http://"), self.log
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def log(self) -> str:
        """All that it wrote to standard error."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log's events of one name."""
        # the last line may be half written
        lines = [line for line in self.log.split("\n")[:-1] if line.startswith("{")]
        return [event for line in lines if (event := json.loads(line))["event"] == name]

    def get(self, path: str) -> HTTPResponse:
        """Ask for a page."""
        return urllib.request.urlopen(f"{self.origin}{path}", timeout=10)

    def ask(self, text: str = "Hello", *, model: str = "gpt-4o-mini", stream: bool = False) -> HTTPResponse:
        """Ask a question."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
        request = urllib.request.Request(
            f"{self.origin}/v1/chat/completions",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        return urllib.request.urlopen(request, timeout=10)


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that run."""
    found = list[int]()
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = each.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue  # it has ended meanwhile
        if int(parent) == pid and state != "Z":
            found.append(int(each.parent.name))
    return found


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
