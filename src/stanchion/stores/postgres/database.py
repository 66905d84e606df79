"""A bounded pool of connections to one PostgreSQL database, opened and set up at the first question.

Every wait is bounded by `timeout_s`: for a free connection, for connecting, for an answer.  A caller that is
cancelled cancels its statement at the server, and the connection goes back to the pool clean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, TypeVar

import asyncpg

from stanchion.stores.protocols import StoreLost

T = TypeVar("T")
_CONNECTIONS = 8  # a step holds one for a millisecond
_SET_UP_LOCK = 0x7374616E6368696F  # any number, the same for all replicas
_SET_UP_S = 10.0
_NEWEST = "stanchion_pepper_1"  # made last: where it is, all is


class Database:
    """Runs single statements.  Belongs to the event loop in which it is first used."""

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def value(self, statement: str, *values: object) -> Any:
        """Return the first column of the first row."""
        return await self._run(lambda it: it.fetchval(statement, *values, timeout=self._timeout_s))

    async def rows(self, statement: str, *values: object) -> list[Any]:
        """Return all rows."""
        return await self._run(lambda it: it.fetch(statement, *values, timeout=self._timeout_s))

    async def _run(self, ask: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        try:
            pool = self._pool or await self._open()
            connection = await pool.acquire(timeout=self._timeout_s)
            try:
                return await ask(connection)
            finally:
                await pool.release(connection, timeout=self._timeout_s)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, EOFError) as error:
            # its own words stay out: they can repeat the address with its password
            raise StoreLost(f"postgresql gave no answer ({type(error).__name__})") from None

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._closed:
                raise StoreLost("postgresql was closed")
            if self._pool is None:
                pool = asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=_CONNECTIONS,
                    timeout=self._timeout_s,
                    command_timeout=self._timeout_s,
                    server_settings={
                        "application_name": "stanchion",
                        "default_transaction_isolation": "read committed",  # a step sees what the one before did
                    },
                    reset=_keep,
                )
                try:
                    await pool
                    async with pool.acquire(timeout=self._timeout_s) as connection:
                        await _set_up(connection)
                except BaseException:
                    pool.terminate()
                    raise
                self._pool = pool
            return self._pool

    async def aclose(self) -> None:
        """Close; what is on its way may end within the timeout."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), self._timeout_s)
            except TimeoutError:
                pool.terminate()


async def _keep(connection: asyncpg.Connection) -> None:
    """Leave a connection as it is: asyncpg's own reset is a second round trip, and no step changes a session."""
    del connection


async def _set_up(connection: asyncpg.Connection) -> None:
    """Make tables and functions where they are missing; a role without the right to is fine when they exist."""
    if await connection.fetchval("SELECT to_regproc($1::text) IS NOT NULL", _NEWEST):
        return
    source = files("stanchion.stores.postgres").joinpath("set_up.sql").read_text(encoding="utf-8")
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _SET_UP_LOCK, timeout=_SET_UP_S)
        await connection.execute(source, timeout=_SET_UP_S)
