"""The key book in Redis or Valkey."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec

from stanchion.stores.protocols import ORDERS_MOST, ORDERS_OLDEST_S, PEPPER_BYTES, KeyOrder, KeyReport
from stanchion.stores.redis.wire import Argument, Script, Wire

PEPPER, REPORT, REPORTS = Script("pepper"), Script("report"), Script("reports")
ORDER, ORDERS = Script("order"), Script("orders")
_REPORTS_OLDEST_S = 86_400
_REPORT_KEYS = ("{stanchion}:key_reports", "{stanchion}:key_reports_at")
_ORDER_KEYS = ("{stanchion}:key_orders", "{stanchion}:key_orders_last")
_KEPT_US = int(ORDERS_OLDEST_S * 1e6)


class RedisKeyBook:
    """The key book of all who open the same server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def pepper(self) -> bytes:
        new = secrets.token_bytes(PEPPER_BYTES)
        return await self._wire.run(PEPPER, ("{stanchion}:pepper",), (new,))

    async def report(self, reports: Sequence[KeyReport]) -> None:
        words: list[Argument] = [_REPORTS_OLDEST_S]
        for each in reports:
            words += (f"{each.key}\0{each.replica}", msgspec.json.encode(each))
        await self._wire.run(REPORT, _REPORT_KEYS, words)

    async def reports(self, *, younger_than_s: float) -> Sequence[KeyReport]:
        answer = await self._wire.run(REPORTS, _REPORT_KEYS, (repr(younger_than_s),))
        return [msgspec.json.decode(each, type=KeyReport) for each in answer]

    async def order(self, order: KeyOrder) -> int:
        words = (msgspec.json.encode(order), _KEPT_US, ORDERS_MOST)
        return int(await self._wire.run(ORDER, _ORDER_KEYS, words))

    async def orders(self, after: int) -> Sequence[KeyOrder]:
        answer: list[bytes] = await self._wire.run(ORDERS, _ORDER_KEYS[:1], (after, _KEPT_US))
        found: list[KeyOrder] = []
        for each in answer:
            number, _, told = each.partition(b" ")
            order = msgspec.json.decode(told, type=KeyOrder)
            found.append(msgspec.structs.replace(order, number=int(number)))
        return found

    async def aclose(self) -> None:
        await self._wire.aclose()
