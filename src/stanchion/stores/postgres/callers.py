"""The caller book in PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec

from stanchion.core.caller import Entry
from stanchion.stores.memory import kind_of
from stanchion.stores.postgres.database import Database
from stanchion.stores.protocols import PEPPER_BYTES, Callers

_PEPPER = "SELECT stanchion_pepper_1($1)"
_READ = "SELECT version, pepper, entries FROM stanchion_callers_1($1)"
_WRITE = "SELECT stanchion_callers_write_1($1, $2, $3, $4)"
_decode = msgspec.json.Decoder(Entry).decode


class PostgresCallerBook:
    """The caller book of all who open the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._has_pepper = False

    async def read(self, known: int = -1) -> Callers | None:
        if not self._has_pepper:  # made before anything else, and never changed
            await self._database.value(_PEPPER, secrets.token_bytes(PEPPER_BYTES))
            self._has_pepper = True
        rows = await self._database.rows(_READ, known)
        if not rows:
            return None
        version, pepper, entries = rows[0]
        return Callers(version, pepper, [_decode(entry) for entry in entries])

    async def write(self, entries: Sequence[Entry], *, at: int) -> bool:
        return await self._database.value(
            _WRITE,
            [kind_of(entry) for entry in entries],
            [entry.name for entry in entries],
            [msgspec.json.encode(entry).decode() for entry in entries],
            at,
        )

    async def aclose(self) -> None:
        await self._database.aclose()
