"""Requests that are completed: what a row's body does not say itself, the job says for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stanchion.batch.rows import Form, Request, Row

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class FilledForm:
    """Another form, to whose requests fields are added that they do not have."""

    def __init__(self, form: Form, fields: Mapping[str, Any]) -> None:
        self._form = form
        self._fields = dict(fields)
        self.settled = _encode([form.settled.decode(errors="replace"), "filled", self._fields])
        self.content = form.content
        self.custom_id = form.custom_id

    def request(self, row: Row) -> Request:
        """Return what a row asks, completed.  Raises BadRow."""
        asked = self._form.request(row)
        try:
            own = _decode(asked.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return asked  # whoever asks it says what is wrong with it
        return msgspec.structs.replace(asked, body=_encode({**self._fields, **own}))
