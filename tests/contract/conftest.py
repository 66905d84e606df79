"""Each contract test runs on every backend: memory, SQLite, Redis, PostgreSQL; the latter two on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stanchion.core.clock import Clock
from stanchion.stores.budgets import Budgets
from stanchion.stores.opening import (
    Opened,
    open_budgets,
    open_caller_book,
    open_key_book,
    open_limits,
    open_together,
)
from stanchion.stores.protocols import CallerBook, KeyBook, Limits
from tests.contract.servers import PostgresServer, RedisServer, at_hand

SHARED = ["sqlite", "redis", "postgres"]  # what another process can open
BACKENDS = ["memory", *SHARED]
TABLES = "stanchion_meter, stanchion_slot, stanchion_member, stanchion_pepper, stanchion_key_report"
CALLER_TABLES = "stanchion_caller_book, stanchion_caller_entry"


class Place:
    """One empty store, and as many clients of it as a test wants."""

    def __init__(self, backend: str, url: str) -> None:
        self.backend = backend
        self.url = url
        self._limits: list[Limits] = []
        self._books: list[KeyBook] = []
        self._callers: list[CallerBook] = []
        self._budgets: list[Budgets] = []
        self._together: list[Opened] = []

    @property
    def shared(self) -> bool:
        """Whether other processes can open it."""
        return self.backend in SHARED

    def limits(self) -> Limits:
        if not self._limits or self.shared:
            self._limits.append(open_limits(self.url, Clock()))
        return self._limits[-1]

    def key_book(self) -> KeyBook:
        if not self._books or self.shared:
            self._books.append(open_key_book(self.url))
        return self._books[-1]

    def caller_book(self) -> CallerBook:
        if not self._callers or self.shared:
            self._callers.append(open_caller_book(self.url))
        return self._callers[-1]

    def budgets(self) -> Budgets:
        if not self._budgets or self.shared:
            self._budgets.append(open_budgets(self.url, Clock()))
        return self._budgets[-1]

    def together(self) -> Opened:
        if not self._together or self.shared:
            self._together.append(open_together(self.url, Clock()))
            self._limits.append(self._together[-1].limits)  # to be closed
            self._budgets.append(self._together[-1].budgets)
        return self._together[-1]

    async def aclose(self) -> None:
        for each in (*self._limits, *self._books, *self._callers, *self._budgets):
            await each.aclose()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with at_hand(RedisServer) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with at_hand(PostgresServer) as server:
        yield server


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    if backend == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        redis.empty()
        return redis.url
    if backend == "postgres":
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        asyncio.run(cleared(postgres.url))
        return postgres.url
    return f"sqlite://{tmp_path}/store.db" if backend == "sqlite" else "memory"


async def cleared(url: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    if await connection.fetchval("SELECT to_regclass('stanchion_meter') IS NOT NULL"):
        await connection.execute(f"TRUNCATE {TABLES}; TRUNCATE stanchion_key_order RESTART IDENTITY")
    if await connection.fetchval("SELECT to_regclass('stanchion_caller_book') IS NOT NULL"):
        await connection.execute(f"TRUNCATE {CALLER_TABLES}")
    if await connection.fetchval("SELECT to_regclass('stanchion_purse') IS NOT NULL"):
        await connection.execute("TRUNCATE stanchion_purse, stanchion_lease")
    await connection.close()


@pytest.fixture
async def place(backend: str, url: str) -> AsyncIterator[Place]:
    it = Place(backend, url)
    yield it
    await it.aclose()
