"""Requests whose answers have an end: where a row says no most of tokens, it is told one.

A cap on money needs it: what has no bound cannot be held for.  The bound is no part of what an answer is known by, so
a job that is taken up again with another cap asks nothing twice.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stanchion.batch.rows import Form, Request, Row
from stanchion.rules.budget import limited, size_of

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class BoundedForm:
    """Another form, whose requests it bounds."""

    def __init__(self, form: Form, answer_tokens: int) -> None:
        self._form = form
        self._most = answer_tokens
        self.settled = form.settled
        self.content = form.content
        self.custom_id = form.custom_id

    def request(self, row: Row) -> Request:
        """Return what a row asks, with a bound.  Raises BadRow."""
        asked = self._form.request(row)
        try:
            fields = _decode(asked.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return asked  # whoever asks it says what is wrong with it
        size = size_of(asked.operation, fields)
        if size.answer is not None or not size.limits:
            return asked
        bounded = {**fields, **limited(fields, size.limits, self._most)}
        return msgspec.structs.replace(asked, body=_encode(bounded))
