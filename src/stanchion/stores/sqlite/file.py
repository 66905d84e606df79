"""One SQLite file and the one thread that talks to it.

Processes that open the same file act as one: each step is a transaction that begins by locking the file for
writing.  A step waits at most `BUSY_S` for others, then StoreLost is raised.  The file must lie on a disk of this
machine: locks over a network do not hold.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from typing import TypeVar

from stanchion.stores.protocols import EPOCH_S, StoreLost

T = TypeVar("T")
BUSY_S = 2.0  # a step waits so long for other processes
_CLOSE_S = 2.0  # closing waits so long for what was submitted; the rest is given up
_WAITING_MOST = 20_000  # steps; beyond it one is refused: the disk is too slow for what is asked
_OPENINGS = 20  # tries to open: while another process makes the file, SQLite answers "locked" without waiting


class SqliteFile:
    """Runs steps one after another in a thread of its own; opens at the first."""

    def __init__(self, path: str, tables: str = "tables.sql", *, users: int = 1) -> None:
        """`users`: so many stores share it, and it closes when the last of them does."""
        self._path = path
        self._tables = tables
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stanchion-sqlite")
        self._connection: sqlite3.Connection | None = None
        self._waiting = 0
        self._users = users
        self._given_up = False  # what still waits is not done any more

    async def run(self, step: Callable[[sqlite3.Connection, float], T]) -> T:
        """Run `step(connection, now)` as one transaction and return what it returned."""
        return await asyncio.wrap_future(self.submit(step))

    def submit(self, step: Callable[[sqlite3.Connection, float], T]) -> Future[T]:
        """As `run`, and go on at once: steps are done in the order in which they were submitted."""
        if self._waiting >= _WAITING_MOST:
            raise StoreLost(f"{self._path} is too slow: {_WAITING_MOST} steps wait")
        try:
            done = self._thread.submit(self._step, step)
        except RuntimeError:
            raise StoreLost(f"{self._path} was closed") from None
        self._waiting += 1
        done.add_done_callback(self._left)
        return done

    def _left(self, done: Future[T]) -> None:
        """Count; may run in the thread.  Off by one now and then would not matter: a bound is no promise."""
        del done
        self._waiting -= 1

    async def aclose(self) -> None:
        """Close, when what was submitted is done; after a while without it: who waits for that gets StoreLost."""
        self._users -= 1
        if self._users > 0:
            return
        try:
            closed = asyncio.wrap_future(self._thread.submit(self._close))
        except RuntimeError:
            return  # closed before
        self._thread.shutdown(wait=False)
        try:  # `wait` leaves it alone: it is closed in any case, at the latest after the step that runs now
            done, _ = await asyncio.wait((closed,), timeout=_CLOSE_S)
        finally:
            self._given_up = True
        for each in done:
            each.result()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _step(self, step: Callable[[sqlite3.Connection, float], T]) -> T:
        if self._given_up:
            raise StoreLost(f"{self._path} was closed")
        try:
            if self._connection is None:
                self._connection = self._open()
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                done = step(connection, time.time() - EPOCH_S)
                connection.execute("COMMIT")
                return done
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreLost(f"{self._path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # it is nobody else's business
        except OSError as error:
            raise StoreLost(f"{self._path} cannot be opened: {error.strerror}") from error
        for left in reversed(range(_OPENINGS)):
            connection = sqlite3.connect(
                self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")  # no wait for the disk at each step
                tables = files("stanchion.stores.sqlite").joinpath(self._tables).read_text(encoding="utf-8")
                connection.executescript(f"BEGIN IMMEDIATE; {tables} COMMIT;")
                return connection
            except sqlite3.OperationalError:
                connection.close()
                if not left or self._given_up:
                    raise
                threading.Event().wait(0.05)
        raise AssertionError("the last try raises")
