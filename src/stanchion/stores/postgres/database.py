"""A few connections to one PostgreSQL database, each served by a task, opened and set up at the first question.

Callers wait for a future alone, as in redis/wire.py: a pool's connection that is cancelled asks the server to
cancel, on a connection more, and leaves the answer unknown.  The tasks live until `aclose`, which awaits them.

Every wait is bounded by `timeout_s`: for connecting and for an answer.  When one fails, all who wait get StoreLost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.resources import files
from typing import Any

import asyncpg

from stanchion.stores.protocols import StoreLost
from stanchion.stores.question import Question, heard, unheard

_CONNECTIONS = 4  # a step holds one for a millisecond
_WAITING_MOST = 20_000  # beyond it a question is refused: the server is too slow for what is asked
_CLOSE_S = 2.0
_SET_UP_LOCK = 0x7374616E6368696F  # any number, the same for all replicas
_SET_UP_S = 10.0
# files of tables and functions, in order, each with the function that came to it last: where that is, all of it is
_PARTS = {
    "set_up": "stanchion_pepper_1",
    "callers": "stanchion_callers_write_1",
    "budgets": "stanchion_hold_1",
    "admission": "stanchion_admit_1",
    "ledger": "stanchion_ledger_add_1",
}

Ask = Callable[[asyncpg.Connection], Awaitable[Any]]


class Database:
    """Runs single statements.  Belongs to the event loop in which it is first used."""

    def __init__(self, url: str, *, timeout_s: float = 1.0, users: int = 1) -> None:
        """`users`: so many stores share it, and it closes when the last of them does."""
        self._url = url
        self._users = users
        self._timeout_s = timeout_s
        self._waiting: asyncio.Queue[Question[Ask]] = asyncio.Queue(_WAITING_MOST)
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = 0
        self._set_up = asyncio.Lock()
        self._is_set_up = False
        self._closed = False

    async def value(self, statement: str, *values: object, left: Callable[[Any], None] = unheard) -> Any:
        """Return the first column of the first row.  `left` is given it when the caller was cancelled."""
        return await self._run(lambda it: it.fetchval(statement, *values, timeout=self._timeout_s), left)

    async def rows(self, statement: str, *values: object) -> list[Any]:
        """Return all rows."""
        return await self._run(lambda it: it.fetch(statement, *values, timeout=self._timeout_s), unheard)

    def send(self, statement: str, *values: object) -> None:
        """As `value`, without waiting for the answer."""
        self._ask(
            Question(lambda it: it.fetchval(statement, *values, timeout=self._timeout_s), None, unheard)
        )

    def start(self, statement: str, *values: object) -> asyncio.Future[Any]:
        """As `value`, as a future.  Raises StoreLost only when it cannot even be queued."""
        future = asyncio.get_running_loop().create_future()
        ask: Ask = lambda it: it.fetchval(statement, *values, timeout=self._timeout_s)  # noqa: E731
        self._ask(Question(ask, future, unheard))
        return future

    async def _run(self, ask: Ask, left: Callable[[Any], None]) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._ask(Question(ask, future, left))
        return await heard(future, left)

    def _ask(self, question: Question[Ask]) -> None:
        if self._closed:
            raise StoreLost("postgresql was closed")
        try:
            self._waiting.put_nowait(question)
        except asyncio.QueueFull:
            raise StoreLost(f"postgresql is too slow: {_WAITING_MOST} questions wait") from None
        if self._waiting.qsize() > self._idle and len(self._tasks) < _CONNECTIONS:
            task = asyncio.get_running_loop().create_task(self._work(), name="stanchion-postgres")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Ask what is waiting, then close."""
        self._users -= 1
        if self._users > 0:
            return
        self._closed = True
        if self._tasks:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._waiting.join(), _CLOSE_S)
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._drain("postgresql was closed")

    async def _work(self) -> None:
        """Serve one connection until closed.  Waiting for a question has no bound: idle is idle."""
        connection: asyncpg.Connection | None = None
        try:
            while True:
                self._idle += 1
                try:
                    question = await self._waiting.get()
                finally:
                    self._idle -= 1
                try:
                    connection = await self._serve(question, connection)
                finally:
                    question.lost("postgresql was not asked: its task ended")  # unless it was answered
                    self._waiting.task_done()
        finally:
            if connection is not None:
                connection.terminate()

    async def _serve(
        self, question: Question[Ask], connection: asyncpg.Connection | None
    ) -> asyncpg.Connection | None:
        """Ask on this connection or a new one; returns the one to go on with."""
        if question.void:
            return connection
        try:
            if connection is None or connection.is_closed():
                connection = None
                connection = await self._connect()
            question.answered(await question.asked(connection))
            return connection
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, EOFError) as error:
            if connection is not None:
                connection.terminate()
            # the error's own words stay out, and it is not chained: it can hold the address with its password
            message = f"postgresql gave no answer ({type(error).__name__})"
            question.lost(message)
            self._drain(message)  # they would only wait for the same
            return None

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(
            self._url,
            timeout=self._timeout_s,
            server_settings={
                "application_name": "stanchion",
                "default_transaction_isolation": "read committed",  # a step sees what the one before did
            },
        )
        try:
            async with self._set_up:
                if not self._is_set_up:
                    await _set_up(connection)
                    self._is_set_up = True
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _drain(self, message: str) -> None:
        while not self._waiting.empty():
            self._waiting.get_nowait().lost(message)
            self._waiting.task_done()


async def _set_up(connection: asyncpg.Connection) -> None:
    """Make tables and functions where they are missing; a role without the right to is fine when they exist."""
    for part, last in _PARTS.items():
        if await connection.fetchval("SELECT to_regproc($1::text) IS NOT NULL", last, timeout=_SET_UP_S):
            continue
        source = files("stanchion.stores.postgres").joinpath(f"{part}.sql").read_text(encoding="utf-8")
        async with connection.transaction():
            await connection.fetchval("SELECT pg_advisory_xact_lock($1)", _SET_UP_LOCK, timeout=_SET_UP_S)
            await connection.execute(source, timeout=_SET_UP_S)
