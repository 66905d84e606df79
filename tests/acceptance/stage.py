"""What the acceptance tests stand on: simulated providers in a thread, and gateways as processes of their own.

A gateway is what a user starts: a process that reads a configuration file, and is ended by a signal.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from stanchion.simulator import CallRecord, Simulator, SimulatorOptions

T = TypeVar("T")
KEY = "sk-canary-7c1f9e02d4b85a36"  # of the provider; must be seen nowhere
ASKED: list[Any] = [
    {"role": "user", "content": "Where is my order 20261123? I have been waiting for a week."}
]

# What makes failures quick.  A breaker that opened, or a key that rested, would make one test the next one's
# weather.
QUICK = """
[retry]
attempts = 2
base_s = 0.001
budget_floor = 100000
[health]
failures = 100000
[keys]
probe_s = 0.01
probe_most_s = 0.01
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def settled(condition: Callable[[], object], within_s: float = 2.0) -> None:
    """Wait until what happens in another thread or process has happened."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is in another room and has no event
            await asyncio.sleep(0.005)


class LoopThread:
    """An event loop in a thread, for servers that synchronous and asynchronous tests ask alike."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there; return what it returns."""
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(10)

    def do(self, job: Callable[[], T]) -> T:
        """Run a function there; return what it returns."""

        async def done() -> T:
            return job()

        return self.run(done())


class Provider(LoopThread):
    """A running simulator; it is asked from any thread."""

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self._sim = Simulator(options)

    def __enter__(self) -> Self:
        super().__enter__()
        self.run(self._sim.start())
        self.base_url = self._sim.base_url
        self.port = self._sim.port
        return self

    def __exit__(self, *error: Any) -> None:
        self.run(self._sim.aclose())
        super().__exit__(*error)

    def plan(self, *faults: str) -> None:
        """Let these faults strike, and forget what arrived so far."""
        self.do(lambda: (self._sim.faults.set(faults), self._sim.calls.clear()))

    @property
    def calls(self) -> list[CallRecord]:
        """What arrived since the last plan, without the questions for the list of models."""
        return self.do(lambda: [each for each in self._sim.calls if each.path != "/v1/models"])

    @property
    def running(self) -> int:
        """Calls whose answer has not ended."""
        return self.do(lambda: self._sim.running_calls)


class Gateway:
    """A gateway as a process of its own."""

    def __init__(
        self,
        folder: Path,
        settings: str,
        *,
        gateway: str = "drain_notice_s = 0",
        log_level: str = "info",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.file = folder / f"gateway-{self.port}.toml"
        self.log_file = folder / f"gateway-{self.port}.log"
        self._gateway = gateway  # lines of the section [gateway]
        self._settings = settings
        self._log_level = log_level
        own = {
            "CANARY_KEY": KEY,
            "XDG_STATE_HOME": str(folder / f"state-{self.port}"),
        }  # no gateway's but this one's
        self._environ = own | dict(environ or {})

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def log(self) -> str:
        """All that it wrote."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        own = f'[log]\nlevel = "{self._log_level}"\nformat = "json"\n[gateway]\nport = {self.port}\n{self._gateway}\n'
        self.file.write_text(own + self._settings, encoding="utf-8")
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stanchion", "serve", "--config", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=kept | self._environ,
            )
        self._until_ready()
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
                raise

    def get(self, path: str) -> tuple[int, str]:
        """Ask for a page; return its status and its text."""
        try:
            with urllib.request.urlopen(f"{self.origin}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value, summed over all labels that are not named."""
        return metric(self.get("/metrics")[1], name, **labels)

    def _until_ready(self) -> None:
        give_up_at = time.monotonic() + 15
        pause = threading.Event()
        while time.monotonic() < give_up_at:
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.log}")
            try:
                if self.get("/readyz")[0] == 200:
                    return
            except OSError:
                pause.wait(0.05)
        raise AssertionError(f"the gateway does not answer:\n{self.log}")


def metric(page: str, name: str, **labels: str) -> float:
    """Read a metric out of a scrape, summed over all labels that are not named."""
    total = 0.0
    for found in re.finditer(rf"^{name}(?:\{{(.*)\}})? (\S+)$", page, re.M):
        there = dict(re.findall(r'(\w+)="([^"]*)"', found[1] or ""))
        if labels.items() <= there.items():
            total += float(found[2])
    return total


def provider(name: str, base_url: str, *more: str) -> str:
    """Write the configuration of a provider that needs the planted key."""
    lines = [f"[providers.{name}]", f'base_url = "{base_url}"', 'key_env = "CANARY_KEY"', *more]
    return "\n".join(lines) + "\n"
