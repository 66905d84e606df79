"""An answer as the journal keeps it: the body as it came, and the rest as small JSON."""

from __future__ import annotations

import msgspec

from stanchion.batch.answers import Answer
from stanchion.stores.journal.records import Kind, Record

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Answer).decode
_STATUS_MOST = 65535


def record_of(key: bytes, answer: Answer) -> Record:
    """Return the record of an answer."""
    kind = Kind.ANSWERED if answer.problem is None else Kind.FAILED
    meta = _encode(msgspec.structs.replace(answer, body=b"") if answer.body else answer)
    status = min(answer.status, _STATUS_MOST)
    return Record(key, kind, status, answer.cost_micro_usd, meta, answer.body)


def answer_of(record: Record) -> Answer:
    """Return the answer of a record."""
    answer = _decode(record.meta)
    return msgspec.structs.replace(answer, body=record.body) if record.body else answer
