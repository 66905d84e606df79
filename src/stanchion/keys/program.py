"""A key that a program prints: Vault, OpenBao, a cloud's command line, anything.

The program is started directly, without a shell, sees few variables of the environment, has a bounded time and
says `{"api_key": "...", "expires_in": 3600}` or `"expires_at": "2026-11-24T12:00:00Z"`.  The form is that of
kubectl's exec credentials in small.  What it writes to its standard error goes nowhere: it could hold the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from stanchion.keys.source import Found, SourceFailed, sealed

_MOST = 64 * 1024  # bytes of its answer
_SEES = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT")


class _Said(msgspec.Struct):
    api_key: str
    expires_in: float | None = None
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return "<what a program said>"


class ProgramOptions(msgspec.Struct, frozen=True):
    """How a program is run."""

    every_s: float
    timeout_s: float
    sees: tuple[str, ...] = ()  # variables beside the few that all see


class ProgramSource:
    """One program with its arguments."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], options: ProgramOptions) -> None:
        self._argv = tuple(argv)
        self._options = options
        self._environ = environ
        self.name = f"the program {argv[0]}"
        self.every_s = options.every_s

    def read_now(self) -> Found | None:
        """Return None: a program takes time."""
        return None

    async def read(self) -> Found:
        """Run it.  Raises SourceFailed.  Cancel, timeout: it and all that it started are killed."""
        try:
            return await self._run()
        except SourceFailed as error:
            failure = error.with_traceback(None)  # the frames below hold what was printed
        raise failure

    async def _run(self) -> Found:
        names = (*_SEES, *self._options.sees)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={name: self._environ[name] for name in names if name in self._environ},
                start_new_session=True,  # a group of its own, to be killed as one
            )
        except OSError as error:
            raise SourceFailed(
                f"{self.name} did not start: {type(error).__name__}", code="not_started"
            ) from None
        ended = False
        try:
            async with asyncio.timeout(self._options.timeout_s):
                raw = await self._read(process)
                code = await process.wait()
                ended = True
        except TimeoutError:
            raise SourceFailed(
                f"{self.name} took longer than {self._options.timeout_s:g} s", code="timeout"
            ) from None
        finally:
            if not ended:
                await _kill(process)
        if code != 0:
            raise SourceFailed(
                f"{self.name} ended with exit code {code}; run it by hand to see", code="exit_code"
            )
        return self._found(raw)

    async def _read(self, process: asyncio.subprocess.Process) -> bytes:
        out = process.stdout
        assert out is not None  # noqa: S101 - a pipe
        parts, size = list[bytes](), 0
        while part := await out.read(8192):
            parts.append(part)
            size += len(part)
            if size > _MOST:
                raise SourceFailed(f"{self.name} printed more than {_MOST} bytes", code="too_long")
        return b"".join(parts)

    def _found(self, raw: bytes) -> Found:
        try:
            said = msgspec.json.decode(raw, type=_Said)
        except msgspec.MsgspecError:
            said = None
        if said is None:
            raise SourceFailed(
                f'{self.name} must print {{"api_key": "...", "expires_in": seconds}} as JSON', code="not_json"
            )
        good_for_s = said.expires_in
        if said.expires_at is not None:
            at = said.expires_at
            at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
            good_for_s = (at - datetime.now(UTC)).total_seconds()
        if good_for_s is not None and not good_for_s > 0:
            raise SourceFailed(f"{self.name} printed a key that has expired", code="expired")
        return Found(sealed(said.api_key, self.name), good_for_s)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the program and all that it started; one that has ended may have left others, who hold its output."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:  # pragma: no cover - Windows has no groups
            process.kill()
    if process.returncode is None:
        await process.wait()
