"""Opens a store by its address.  The one place that knows which address means which backend.

The drivers of Redis and PostgreSQL are extras and are imported only when their address is opened.
"""

from __future__ import annotations

import importlib
import os
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from stanchion.core.clock import Clock
from stanchion.core.errors import SettingsError
from stanchion.stores.admission import Admissions, Apart
from stanchion.stores.budgets import Budgets
from stanchion.stores.ledger import LedgerStore
from stanchion.stores.memory import MemoryCallerBook, MemoryKeyBook, MemoryLimits
from stanchion.stores.memory_budgets import MemoryBudgets
from stanchion.stores.memory_ledger import MemoryLedger
from stanchion.stores.protocols import CacheStore, CallerBook, KeyBook, Limits
from stanchion.stores.sqlite.admission import SqliteAdmissions
from stanchion.stores.sqlite.budgets import SqliteBudgets
from stanchion.stores.sqlite.cache import SqliteCache
from stanchion.stores.sqlite.callers import SqliteCallerBook
from stanchion.stores.sqlite.file import SqliteFile
from stanchion.stores.sqlite.keys import SqliteKeyBook
from stanchion.stores.sqlite.ledger import SqliteLedger
from stanchion.stores.sqlite.limits import SqliteLimits

FORMS = "memory, sqlite:///absolute/path.db, redis://host:6379/0, rediss://…, valkey://…, postgresql://host/database"
_BATCH_S = 10.0  # seconds for a batch of the ledger's, or a question over years of it
FORM_OF = {
    "redis": "redis://:password@host:6379/0",
    "postgres": "postgresql://user:password@host:5432/database",
}
_REDIS = {"redis", "rediss", "valkey", "valkeys", "unix"}
_POSTGRES = {"postgresql", "postgres"}


def open_limits(url: str, clock: Clock) -> Limits:
    """Open limits at an address such as `redis://127.0.0.1:6379/0`; connects at the first question.

    `clock` tells the time for `memory` alone.  Raises SettingsError, which shows no password.
    """
    scheme = _scheme(url)
    if scheme == "memory":
        return MemoryLimits(clock.reading)
    if scheme == "sqlite":
        return SqliteLimits(_path(url))
    if scheme in _REDIS:
        return _room("redis", "limits").RedisLimits(_wire(url))
    return _room("postgres", "limits").PostgresLimits(_database(url))


def open_budgets(url: str, clock: Clock) -> Budgets:
    """Open budgets at an address, as `open_limits`."""
    scheme = _scheme(url)
    if scheme == "memory":
        return MemoryBudgets(clock.reading)
    if scheme == "sqlite":
        return SqliteBudgets(_path(url))
    if scheme in _REDIS:
        return _room("redis", "budgets").RedisBudgets(_wire(url))
    return _room("postgres", "budgets").PostgresBudgets(_database(url))


class Opened(msgspec.Struct, frozen=True):
    """Limits and budgets of one store.  Whoever opens it closes both."""

    limits: Limits
    budgets: Budgets
    admissions: Admissions  # both in one step


def open_together(url: str, clock: Clock) -> Opened:
    """Open limits and budgets that are at the same address, as `open_limits`: they share one way to it."""
    scheme = _scheme(url)
    if scheme == "memory":
        limits, budgets = MemoryLimits(clock.reading), MemoryBudgets(clock.reading)
        return Opened(limits, budgets, Apart(limits, budgets))  # no step awaits anything: two are one
    if scheme == "sqlite":
        file = SqliteFile(_path(url), users=2)
        return Opened(SqliteLimits(file), SqliteBudgets(file), SqliteAdmissions(file))
    if scheme in _REDIS:
        wire = _wire(url, users=2)
        room = _room("redis", "admission").RedisAdmissions(wire)
        return Opened(
            _room("redis", "limits").RedisLimits(wire), _room("redis", "budgets").RedisBudgets(wire), room
        )
    database = _database(url, users=2)
    return Opened(
        _room("postgres", "limits").PostgresLimits(database),
        _room("postgres", "budgets").PostgresBudgets(database),
        _room("postgres", "admission").PostgresAdmissions(database),
    )


def open_key_book(url: str) -> KeyBook:
    """Open a key book at an address, as `open_limits`."""
    scheme = _scheme(url)
    if scheme == "memory":
        return MemoryKeyBook()
    if scheme == "sqlite":
        return SqliteKeyBook(_path(url))
    if scheme in _REDIS:
        return _room("redis", "keys").RedisKeyBook(_wire(url))
    return _room("postgres", "keys").PostgresKeyBook(_database(url))


def check_address(url: str) -> None:
    """Raise SettingsError, which shows no password, where an address cannot be opened.  Connects to nothing."""
    scheme = _scheme(url)
    if scheme == "sqlite":
        _path(url)
    elif scheme != "memory":
        kind, backend = ("Redis", "redis") if scheme in _REDIS else ("PostgreSQL", "postgres")
        try:
            urlsplit(url).port  # noqa: B018 - raises where it is no number
        except ValueError:
            raise _unreadable(kind, FORM_OF[backend]) from None
        _room(backend, "limits")


def open_caller_book(url: str) -> CallerBook:
    """Open a caller book at an address, as `open_limits`.  Not in Redis: who may call must outlive its loss."""
    scheme = _scheme(url)
    if scheme == "memory":
        return MemoryCallerBook()
    if scheme == "sqlite":
        return SqliteCallerBook(_path(url))
    if scheme in _REDIS:
        raise SettingsError(
            "callers are not kept in Redis, which may lose a revocation: write sqlite:///absolute/path.db "
            "or postgresql://host/database"
        )
    return _room("postgres", "callers").PostgresCallerBook(_database(url))


def open_ledger(url: str) -> LedgerStore:
    """Open a ledger at an address, as `open_limits`.  Not in Redis, which keeps no books."""
    scheme = _scheme(url)
    if scheme == "memory":
        return MemoryLedger()
    if scheme == "sqlite":
        return SqliteLedger(_path(url))
    if scheme in _REDIS:
        raise SettingsError(
            "the ledger is not kept in Redis: write sqlite:///absolute/path.db or postgresql://host/database"
        )
    return _room("postgres", "ledger").PostgresLedger(_database(url, timeout_s=_BATCH_S))


def open_cache(url: str, most_bytes: int) -> CacheStore:
    """Open a cache in a file or at a server, bounded in bytes, as `open_limits`."""
    scheme = _scheme(url)
    if scheme == "sqlite":
        return SqliteCache(_path(url), most_bytes)
    if scheme in _REDIS:
        return _room("redis", "cache").RedisCache(_wire(url), most_bytes)
    raise SettingsError(
        f"a cache cannot be kept at {scheme}: write sqlite:///absolute/path.db or redis://host:6379/0; "
        "memory is always there"
    )


def shown(url: str) -> str:
    """Return the address for a log or a message: without user, password and options."""
    if url == "memory":
        return url
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
    except ValueError:  # it may be the password that cannot be read
        return f"{url.partition(':')[0][:20]}://…"


def _scheme(url: str) -> str:
    """Return which kind of address it is, or raise."""
    scheme, colon, _ = url.partition(":")
    if (scheme == "memory" and not colon) or (colon and scheme in {"sqlite", *_REDIS, *_POSTGRES}):
        return scheme
    said = f"begins with {scheme[:20]!r}" if colon else "names no kind of store"
    raise SettingsError(f"the store's address {said}; write one of: {FORMS}")


def _path(url: str) -> str:
    path = unquote(url.removeprefix("sqlite://"))
    if not path.startswith("/") or path.endswith("/"):
        raise SettingsError("a SQLite store needs an absolute path: write sqlite:///absolute/path.db")
    if not os.path.isdir(os.path.dirname(path)):
        raise SettingsError(f"there is no folder for the store {path}: make {os.path.dirname(path)}")
    return path


def _wire(url: str, *, users: int = 1) -> Any:
    try:
        return _room("redis", "wire").Wire(url, users=users)
    except (ValueError, TypeError):
        raise _unreadable("Redis", FORM_OF["redis"]) from None


def _database(url: str, *, timeout_s: float = 1.0, users: int = 1) -> Any:
    try:
        urlsplit(url).port  # noqa: B018 - raises where it is no number
    except ValueError:
        raise _unreadable("PostgreSQL", FORM_OF["postgres"]) from None
    return _room("postgres", "database").Database(url, timeout_s=timeout_s, users=users)


def _unreadable(kind: str, form: str) -> SettingsError:
    # nothing of the address is repeated, and the error is not chained: both could show the password
    return SettingsError(
        f"the {kind} store's address cannot be read; write {form}, with / # ? @ : in the password as %2F %23 %3F %40 %3A"
    )


def _room(backend: str, module: str) -> Any:
    try:
        return importlib.import_module(f"stanchion.stores.{backend}.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"redis", "asyncpg"}:
            raise SettingsError(
                f"the store needs a driver that is not installed: pip install 'stanchion[{backend}]'"
            ) from error
        raise
