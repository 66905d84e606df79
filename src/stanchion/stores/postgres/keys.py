"""The key book in PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec

from stanchion.stores.postgres.database import Database
from stanchion.stores.protocols import ORDERS_MOST, ORDERS_OLDEST_S, PEPPER_BYTES, KeyOrder, KeyReport

_PEPPER = "SELECT stanchion_pepper_1($1)"
_REPORT = "SELECT stanchion_report_1($1, $2, $3, $4)"
_REPORTS = (
    "SELECT report FROM stanchion_key_report WHERE at > stanchion_now_1() - $1::float8 ORDER BY key, replica"
)
_ORDER = "SELECT stanchion_order_1($1, $2, $3)"
_ORDERS = """
    SELECT number, told FROM stanchion_key_order
    WHERE number > $1 AND at > stanchion_now_1() - $2::float8 ORDER BY number
"""
_REPORTS_OLDEST_S = 86_400.0


class PostgresKeyBook:
    """The key book of all who open the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pepper(self) -> bytes:
        return await self._database.value(_PEPPER, secrets.token_bytes(PEPPER_BYTES))

    async def report(self, reports: Sequence[KeyReport]) -> None:
        await self._database.value(
            _REPORT,
            [each.key for each in reports],
            [each.replica for each in reports],
            [msgspec.json.encode(each).decode() for each in reports],
            _REPORTS_OLDEST_S,
        )

    async def reports(self, *, younger_than_s: float) -> Sequence[KeyReport]:
        rows = await self._database.rows(_REPORTS, younger_than_s)
        return [msgspec.json.decode(row[0], type=KeyReport) for row in rows]

    async def order(self, order: KeyOrder) -> int:
        told = msgspec.json.encode(order).decode()
        return await self._database.value(_ORDER, told, ORDERS_OLDEST_S, ORDERS_MOST)

    async def orders(self, after: int) -> Sequence[KeyOrder]:
        found: list[KeyOrder] = []
        for number, told in await self._database.rows(_ORDERS, after, ORDERS_OLDEST_S):
            order = msgspec.json.decode(told, type=KeyOrder)
            found.append(msgspec.structs.replace(order, number=number))
        return found

    async def aclose(self) -> None:
        await self._database.aclose()
