"""A SQLite file is closed in bounded time, and what is undone for a caller that left never stands in its way."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stanchion.stores.protocols import Slot, StoreLost
from stanchion.stores.sqlite.file import SqliteFile
from stanchion.stores.sqlite.limits import SqliteLimits
from stanchion.testing import virtual_time

Step = Callable[[sqlite3.Connection, float], None]


class Gate:
    """A step that stays in the thread until it is opened, as one does that waits for another process."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def __call__(self, connection: sqlite3.Connection, at: float) -> None:
        del connection, at
        self._open.wait(20.0)

    def open(self) -> None:
        self._open.set()


def nothing(connection: sqlite3.Connection, at: float) -> None:
    del connection, at


def test_closing_waits_for_what_was_submitted(tmp_path: Path) -> None:
    async def run() -> None:
        file = SqliteFile(str(tmp_path / "a.db"))
        last = [file.submit(nothing) for _ in range(100)][-1]
        await file.aclose()
        assert last.result(0) is None
        await file.aclose()
        with pytest.raises(StoreLost, match="was closed"):
            file.submit(nothing)

    asyncio.run(run())


def test_closing_gives_up_what_waits_behind_a_step_that_does_not_end(tmp_path: Path) -> None:
    gate = Gate()

    @virtual_time
    async def run() -> None:
        file = SqliteFile(str(tmp_path / "a.db"))
        first, *others = [file.submit(gate), *(file.submit(nothing) for _ in range(100))]
        await file.aclose()
        assert asyncio.get_running_loop().time() == 2.0
        assert not first.done()
        gate.open()
        assert first.result(20.0) is None  # what was begun is done
        for each in others:
            with pytest.raises(StoreLost, match="was closed"):
                each.result(20.0)

    try:
        run()
    finally:
        gate.open()


def test_a_file_whose_closing_is_cancelled_is_closed_all_the_same(tmp_path: Path) -> None:
    gate = Gate()

    @virtual_time
    async def run() -> None:
        file = SqliteFile(str(tmp_path / "a.db"))
        _, other = file.submit(gate), file.submit(nothing)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(file.aclose(), 1.0)
        gate.open()
        with pytest.raises(StoreLost, match="was closed"):
            other.result(20.0)

    try:
        run()
    finally:
        gate.open()


def test_a_caller_that_leaves_while_the_file_is_closed_is_cancelled(tmp_path: Path) -> None:
    gate = Gate()

    @virtual_time
    async def run() -> None:
        limits = SqliteLimits(str(tmp_path / "a.db"))
        limits._file.submit(gate)
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(limits.take((), [Slot("s", 1, 60.0)], "x"))
            await asyncio.sleep(0)
            await limits.aclose()
            taking.cancel()
        assert taking.cancelled()

    try:
        run()
    finally:
        gate.open()
