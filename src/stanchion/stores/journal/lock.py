"""One writer at a time: a lock of the kernel's on a file, which ends with the process however it ends."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import msgspec

from stanchion.stores.journal.errors import JournalBusy

if sys.platform != "win32":
    import fcntl


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock."""

    pid: int
    host: str


def take_lock(path: Path) -> int:
    """Take the lock; return the open file, which holds it until it is closed.  Raises JournalBusy, OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _busy(path, file) from None
        os.ftruncate(file, 0)
        os.pwrite(file, msgspec.json.encode(Holder(os.getpid(), socket.gethostname())), 0)
    except BaseException:
        os.close(file)
        raise
    return file


def _busy(path: Path, file: int) -> JournalBusy:
    try:
        holder = msgspec.json.decode(os.pread(file, 4096, 0), type=Holder)
        who = f"process {holder.pid} on {holder.host}"
    except msgspec.DecodeError:
        who = "another process"
    return JournalBusy(f"{who} writes to {path.parent} now: wait for it or stop it, or choose another output")


def holder_of(path: Path) -> Holder | None:
    """Return who holds a lock now; None if nobody does."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        try:
            return msgspec.json.decode(os.pread(file, 4096, 0), type=Holder)
        except msgspec.DecodeError:
            return Holder(0, "")
    finally:
        os.close(file)
