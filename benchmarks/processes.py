"""Processes of a run: servers that are awaited and ended, workers that take orders line by line."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import PYTHON, on_core

ROOT = Path(__file__).resolve().parents[1]
_START_S = 60.0


class Failed(Exception):
    """A process did not do what a row needs; the row cannot be measured."""


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process: ours, without what would configure the system under test."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STANCHION_", "OPENAI_", "PYTHONDEVMODE"))
    }
    return {**kept, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src"))), **more}


@contextlib.contextmanager
def process(
    words: Sequence[str], *, core: int, env: Mapping[str, str] | None = None, piped: bool = False
) -> Generator[subprocess.Popen[str]]:
    """Run a process on a core; end it afterwards.  What it says on stderr is kept for the case it fails."""
    with tempfile.TemporaryFile("w+") as said:
        with on_core(core):
            pipe = subprocess.PIPE if piped else subprocess.DEVNULL
            running = subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=said, text=True, env=env or environment(), cwd=ROOT
            )
        try:
            yield running
        except Exception as error:
            said.seek(0)
            error.add_note(f"{' '.join(words)[:200]} said: {said.read()[-2000:]}")
            raise
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
            for end in (running.stdin, running.stdout):
                if end is not None:
                    with contextlib.suppress(BrokenPipeError):
                        end.close()


@contextlib.contextmanager
def server(
    words: Sequence[str],
    port: int,
    *,
    core: int,
    env: Mapping[str, str] | None = None,
    within_s: float = _START_S,
) -> Generator[subprocess.Popen[str]]:
    """Run a server; go on when it accepts connections."""
    with process(words, core=core, env=env) as running:
        give_up_at = time.monotonic() + within_s
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if running.poll() is not None or time.monotonic() > give_up_at:
                raise Failed(f"a server did not start: {' '.join(words)[:200]}")
            time.sleep(0.02)  # noqa: TID251 - no loop here
        yield running


def python(module: str, *words: object) -> list[str]:
    """Return the command of a module of ours."""
    return [PYTHON, "-m", module, *map(str, words)]


class Worker:
    """A process that reads an order as a line of JSON and answers with one."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self._running = running
        self.pid = running.pid

    def ask(self, **order: Any) -> dict[str, Any]:
        """Return its answer."""
        assert self._running.stdin is not None
        self._running.stdin.write(json.dumps(order) + "\n")
        self._running.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for the next line."""
        assert self._running.stdout is not None
        line = self._running.stdout.readline()
        if not line:
            raise Failed("a worker ended before its time")
        return json.loads(line)


@contextlib.contextmanager
def worker(words: Sequence[str], *, core: int, env: Mapping[str, str] | None = None) -> Generator[Worker]:
    """Run a worker."""
    with process(words, core=core, env=env, piped=True) as running:
        yield Worker(running)
