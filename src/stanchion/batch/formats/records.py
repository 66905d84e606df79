"""A row's own columns, and beside them what came of it.

All rows are there, also those that failed: `answer_status` tells them apart.  A column of the input that is called
like one of ours is hidden by it; `--answer-column` gives ours another name.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

import msgspec

from stanchion.batch.answers import Answer
from stanchion.batch.rows import Row
from stanchion.rules.json_schema import NotJson, value_of
from stanchion.wire.said import said

_decode = msgspec.json.Decoder().decode
# what is added, by the end of its name, and which kind of value it is
ADDED: Mapping[str, type[Any]] = {
    "": str,
    "_status": str,  # "ok" or "failed"
    "_error": str,
    "_finish_reason": str,
    "_model": str,
    "_input_tokens": int,
    "_output_tokens": int,
    "_cost_usd": float,
}


class Records:
    """Makes one record of a row and its answer."""

    def __init__(self, *, column: str = "answer", parsed: bool = False) -> None:
        """`parsed`: an answer is the JSON that it holds, not its text."""
        self.column = column
        self._parsed = parsed

    @property
    def added(self) -> dict[str, type[Any]]:
        """The columns that are added, in order."""
        return {f"{self.column}{end}": kind for end, kind in ADDED.items()}

    def of(self, row: Row, answer: Answer) -> dict[str, Any]:
        """Return the record."""
        heard = said(answer.body) if answer.answered else None
        usage = answer.usage or (heard.usage if heard is not None else None)
        values = (
            None if heard is None else self._value(heard.text if heard.texts else heard.value),
            "ok" if heard is not None else "failed",
            None if answer.problem is None else answer.problem.message,
            (heard.finish_reason or None) if heard is not None else None,
            (heard.model or None) if heard is not None else None,
            usage.prompt_tokens if usage is not None else None,
            usage.completion_tokens if usage is not None else None,
            float(Decimal(answer.cost_micro_usd).scaleb(-6)),
        )
        return {**columns_in(row.line), **dict(zip(self.added, values, strict=True))}

    def _value(self, said: Any) -> Any:
        if not self._parsed or not isinstance(said, str):
            return said
        try:
            return value_of(said)
        except NotJson:
            return said


def columns_in(line: bytes) -> dict[str, Any]:
    """Return a row's columns; of a line that is no record, the line itself."""
    try:
        read = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        read = line.decode(errors="replace")
    return cast("dict[str, Any]", read) if isinstance(read, dict) else {"line": read}
