"""Which columns a table has, and of which kind each is: known of a CSV file, looked for in any other input.

A table needs that before its first record, so such an output reads the input once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stanchion.batch.formats.records import columns_in
from stanchion.batch.rows import Source
from stanchion.batch.sources.csv import CsvSource

_INT_MOST = 2**63 - 1  # larger ones no table holds
Columns = Mapping[str, type[Any]]  # by name: int, float, bool, str; object is JSON as a text


def columns_of(source: Source) -> dict[str, type[Any]]:
    """Return the columns of all rows, in the order in which they first stand there."""
    if isinstance(source, CsvSource):
        return dict.fromkeys(source.columns, str)
    kinds: dict[str, type[Any]] = {}
    for page in source.pages():
        for number, line in enumerate(page.lines, page.first):
            if line and number not in page.bad:
                for name, value in columns_in(line).items():
                    kinds[name] = _either(kinds.get(name), value)
    return {name: str if kind is type(None) else kind for name, kind in kinds.items()}


def _either(before: type[Any] | None, value: Any) -> type[Any]:
    """Return a kind that holds what was there before and this value."""
    kind = _kind(value)
    if before is None or before is type(None) or before is kind:
        return kind
    if kind is type(None):
        return before
    return float if {before, kind} == {int, float} else object


def _kind(value: Any) -> type[Any]:
    if isinstance(value, int) and abs(value) > _INT_MOST:
        return object
    kinds: tuple[type[Any], ...] = (bool, int, float, str, type(None))
    return next((kind for kind in kinds if isinstance(value, kind)), object)
