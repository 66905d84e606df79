"""The simulator that stands in where no provider is configured: a child process with a life of its own.

It shares neither our event loop nor our terminal's Ctrl-C, and ends with us however we end: its standard
input is a pipe from us, and a closed pipe is its sign to stop.  If it dies it is started again, at the
same address.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from stanchion.core.errors import SettingsError
from stanchion.engine.config import Loaded, load
from stanchion.observe.logs import log_event

log = logging.getLogger(__name__)
ORIGIN = "the built-in simulator"
ADVICE = "set OPENAI_API_KEY, or write a stanchion.toml (stanchion config init), to ask a real provider"
_START_S = 20.0  # seconds until it must have said its address
_STOP_S = 2.0
_PAUSE_S, _PAUSE_MOST_S = 0.2, 30.0  # between two starts of one that dies; doubles
_BRISK = ("--ttft", "0.15", "--tokens-per-s", "160")  # twice as fast as a usual model: a demo is watched


class StandIn:
    """One simulator, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._ending = threading.Event()
        self._guard: threading.Thread | None = None

    def start(self) -> None:
        """Begin to start it, so that it is there by the time it is asked."""
        with self._lock:
            if self._child is None:
                self._child = _Child(port=0)

    @property
    def base_url(self) -> str:
        """Its address.  Starts it if need be, and waits until it is there.  Raises SettingsError."""
        self.start()
        with self._lock:
            assert self._child is not None  # noqa: S101 - started
            address = self._child.address()
            if self._guard is None:
                self._guard = threading.Thread(target=self._keep, name="simulator-guard", daemon=True)
                self._guard.start()
            return address

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._child.process.pid if self._child is not None else None

    def read(self, file: Path | None, flags: Mapping[str, Any]) -> Loaded:
        """Read the settings; where they name no provider, lay the stand-in under them."""
        loaded = load(file, flags=flags)
        if not loaded.simulated:
            return loaded
        ours = {"providers.simulator.preset": "simulator", "providers.simulator.base_url": self.base_url}
        loaded = load(file, flags={**flags, **ours})
        origins = {**loaded.origins, **dict.fromkeys(ours, ORIGIN)}
        return msgspec.structs.replace(loaded, simulated=True, origins=origins)

    def close(self) -> None:
        """End it."""
        self._ending.set()
        with self._lock:
            if self._child is not None:
                self._child.end()

    def _keep(self) -> None:
        """Start it again whenever it dies."""
        pause_s = _PAUSE_S
        while not self._ending.is_set():
            child = self._child
            assert child is not None  # noqa: S101 - the guard starts after it
            code = child.process.wait()
            if self._ending.is_set():
                return
            log_event(
                log, logging.ERROR, "simulator.died", code=code, said=child.last_words(), again_in_s=pause_s
            )
            if self._ending.wait(pause_s):
                return
            pause_s = min(2 * pause_s, _PAUSE_MOST_S) if child.brief else _PAUSE_S
            with self._lock:
                if self._ending.is_set():
                    return
                child.end()
                self._child = self._again(child)

    def _again(self, dead: _Child) -> _Child:
        child = _Child(port=dead.port)
        try:
            address = child.address()
        except SettingsError as error:
            log_event(log, logging.ERROR, "simulator.not_started", why=str(error))
        else:
            child.brief = False
            log_event(log, logging.WARNING, "simulator.started_again", address=address)
        return child


class _Child:
    """One process of the simulator."""

    def __init__(self, *, port: int) -> None:
        self.port = port
        self.brief = True  # it has died before it ever answered
        self._address = ""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        command = [sys.executable, "-m", "stanchion", "simulate", "--until-eof", "--port", str(port), *_BRISK]
        self.process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C at the terminal is for us: open answers are to finish first
        )

    def address(self) -> str:
        """Wait until it has said its address.  Raises SettingsError with its last words if it did not."""
        if not self._address:
            out = self.process.stdout
            assert out is not None  # noqa: S101 - a pipe
            late = threading.Timer(_START_S, self.process.kill)
            late.start()
            try:
                self._address = out.readline().decode().strip()
            finally:
                late.cancel()
            if not self._address:
                self.process.wait(_STOP_S)
                raise SettingsError(f"the built-in simulator did not start: {self.last_words()}")
            self.port = int(self._address.rsplit(":", 1)[1].split("/")[0])
        return self._address

    def last_words(self) -> str:
        """Return the last line it wrote to its standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "nothing")

    def end(self) -> None:
        """Close its pipes, which ends it; by force if it takes long."""
        assert self.process.stdin is not None  # noqa: S101 - a pipe
        assert self.process.stdout is not None  # noqa: S101 - a pipe
        self.process.stdin.close()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._errors.close()
