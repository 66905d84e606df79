"""Requests that a cap on money can hold for: their answers have an end, and their price is known.

Where a row says no most of tokens, it is told one; a row whose price nobody knows is a bad row.  The bound is no part of what an answer is known by, so
a job that is taken up again with another cap asks nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from stanchion.batch.rows import BadRow, Form, Request, Row
from stanchion.core.call import Body
from stanchion.core.errors import CallerError
from stanchion.rules.budget import limited
from stanchion.rules.size import answer_size_of

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class BoundedForm:
    """Another form, whose requests it bounds."""

    def __init__(self, form: Form, answer_tokens: int, price: Callable[[Request], object]) -> None:
        """`price` raises CallerError for a request that has none."""
        self._form = form
        self._most = answer_tokens
        self._price = price
        self.settled = form.settled
        self.content = form.content
        self.custom_id = form.custom_id

    def request(self, row: Row) -> Request:
        """Return what a row asks, with a bound.  Raises BadRow."""
        asked = self._bounded(self._form.request(row))
        try:
            self._price(asked)
        except CallerError as error:
            raise BadRow(
                str(error), number=row.number, custom_id=asked.custom_id, code=error.code, param=error.param
            ) from None
        return asked

    def _bounded(self, asked: Request) -> Request:
        try:
            fields = _decode(asked.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return asked  # its price says what is wrong with it
        size = answer_size_of(asked.operation, Body(fields))
        if size.answer is not None or not size.limits:
            return asked
        bounded = {**fields, **limited(fields, size.limits, self._most)}
        return msgspec.structs.replace(asked, body=_encode(bounded))
