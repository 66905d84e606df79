"""The log of what really arrived: one record per call, kept in a ring, never a key and never a prompt."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from functools import lru_cache

import msgspec

KEPT_HEADERS = (
    "x-request-id",
    "x-client-request-id",
    "x-stainless-retry-count",
    "x-stainless-read-timeout",
    "traceparent",
    "openai-organization",
    "openai-project",
    "user-agent",
)


class CallRecord(msgspec.Struct, kw_only=True):
    """One call as the provider saw it. Times are Unix seconds; `client_left_at` is set if it left before the end.

    `completed` says that a reply was written to its end and that no fault had spoilt it.
    """

    id: int
    request_id: str
    at: float
    method: str
    path: str
    model: str = ""
    stream: bool = False
    status: int | None = None
    fault: str | None = None
    events_sent: int = 0
    bytes_sent: int = 0
    completed: bool = False
    client_left_at: float | None = None
    ended_at: float | None = None
    charge: int = 0  # tokens that admission charged; 0 if the call was refused
    prompt_tokens: int = 0
    completion_tokens: int = 0
    idempotency_key: str | None = None
    key_fingerprint: str | None = None
    headers: dict[str, str] = {}
    batch: str = ""  # the batch this is a row of


@lru_cache(maxsize=1024)
def fingerprint(authorization: str) -> str | None:
    """Eight hex digits that tell keys apart without telling them."""
    key = authorization.removeprefix("Bearer ").strip()
    if not key:
        return None
    return hashlib.blake2b(key.encode(), digest_size=4, person=b"stanchion-sim").hexdigest()


class CallLog:
    """The last `capacity` calls; older ones are dropped, their number is in `dropped`."""

    def __init__(self, capacity: int = 20_000) -> None:
        self._records: deque[CallRecord] = deque(maxlen=capacity)
        self._serial = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[CallRecord]:
        return iter(self._records)

    def __getitem__(self, position: int) -> CallRecord:
        return self._records[position]

    @property
    def total(self) -> int:
        """How many calls ever arrived, dropped and cleared ones too."""
        return self._serial

    def next_id(self) -> int:
        """A number for the next record; never used twice, also after `clear`."""
        self._serial += 1
        return self._serial

    def add(self, record: CallRecord) -> None:
        """Keep a record; it goes on changing until the call has ended."""
        if len(self._records) == self._records.maxlen:
            self.dropped += 1
        self._records.append(record)

    def since(self, call_id: int) -> list[CallRecord]:
        """The records whose id is greater."""
        return [record for record in self._records if record.id > call_id]

    def clear(self) -> None:
        """Forget all records."""
        self._records.clear()
        self.dropped = 0
