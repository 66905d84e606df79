"""A key in a file: a Docker or Kubernetes secret, a systemd credential, any file.

It is opened anew each time, so it does not matter whether it was written over, replaced, or reached through
a symbolic link that was swapped, as Kubernetes does.  Weakness: on a file system that is gone, a thread waits.
"""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from stanchion.keys.source import Found, SourceFailed, sealed

_MOST = 16 * 1024  # bytes; no key is longer


class FileSource:
    """One file."""

    def __init__(self, path: Path, every_s: float) -> None:
        self._path = path
        self.name = f"the file {path}"
        self.every_s = every_s

    def read_now(self) -> Found | None:
        """Read it.  Raises SourceFailed: it is not there, everybody may read it, or it holds no key."""
        return Found(sealed(self._text(), self.name))  # in no local of a frame that a traceback could show

    async def read(self) -> Found:
        """Read it in a thread, as `read_now`."""
        found = await asyncio.to_thread(self.read_now)
        assert found is not None  # noqa: S101 - it raises instead
        return found

    def _text(self) -> str:
        """Return what it holds as it is, byte by byte: what is no ASCII is refused as such."""
        try:
            return self._read().decode("latin-1")
        except OSError as error:
            raise SourceFailed(
                f"the key file {self._path} cannot be read: {type(error).__name__}",
                code="missing" if isinstance(error, FileNotFoundError) else "unreadable",
            ) from None

    def _read(self) -> bytes:
        descriptor = os.open(
            self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
        )  # a pipe is not waited for
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)  # of what was opened: a swap in between cannot deceive
            if not stat.S_ISREG(found.st_mode):
                raise SourceFailed(f"the key file {self._path} is no file", code="not_a_file")
            if os.name == "posix" and found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
                raise SourceFailed(
                    f"{self._path} can be read by everybody: chmod 600 it, or 640 for a group of its own",
                    code="open_to_all",
                )
            return file.read(_MOST)
