"""The ledger in PostgreSQL: a batch is one function call."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stanchion.stores.ledger import FORGET_MOST, HOUR_S, SUMS, Asked, Line, Used, joined, spans
from stanchion.stores.ledger_words import rows_of, usage_sql
from stanchion.stores.postgres.database import Database

_ADD = "SELECT stanchion_ledger_add_1($1::json)"
_PROVIDER = "split_part(endpoint, '/', 1)"
_FORGET = """
    WITH gone AS (
        DELETE FROM stanchion_ledger_line WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM stanchion_ledger_line WHERE hour < $1 LIMIT $2
        )) RETURNING 1
    ) SELECT count(*) FROM gone
"""


class PostgresLedger:
    """The ledger of all who open the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, lines: Sequence[Line]) -> int:
        told = msgspec.json.encode([_row(line) for line in lines]).decode()
        return await self._database.value(_ADD, told)

    async def used(self, asked: Asked) -> Sequence[Used]:
        rows: list[list[Used]] = []
        for span in spans(asked):
            # each span is a statement of its own: a batch that comes between two is in one of them alone, as
            # it would be in an answer a moment earlier or later
            question = usage_sql(
                asked, span, "stanchion_ledger", _PROVIDER, ("$1::bigint", "$2::bigint"), "sum({})::bigint"
            )
            found = await self._database.rows(question, span.first, span.end)
            rows.append(rows_of(asked, found))
        return joined(asked, rows)

    async def forget(self, before: float) -> int:
        return await self._database.value(_FORGET, int(before // HOUR_S), FORGET_MOST)

    async def aclose(self) -> None:
        await self._database.aclose()


def _row(line: Line) -> dict[str, object]:
    row = {name: getattr(line, name) for name in line.__struct_fields__ if name != "sums"}
    return {"hour": line.hour, **row, **dict(zip(SUMS, line.sums, strict=True))}
