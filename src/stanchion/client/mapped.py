"""One result of `client.map`, and the journal in which its answers are kept for the next run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from stanchion.client.answers import ChatReply, Facts
from stanchion.client.cost import Prices
from stanchion.core.call import Operation
from stanchion.core.errors import StanchionError, Unusable
from stanchion.core.head import Head
from stanchion.core.trail import Trail
from stanchion.core.usage import Usage
from stanchion.rules.row_key import RowKey
from stanchion.stores.journal.journal import Journal
from stanchion.stores.journal.records import Kind, Record
from stanchion.wire.answers import read_whole

R = TypeVar("R")
T = TypeVar("T")
_read = read_whole(Operation.CHAT)
_encode = msgspec.json.Encoder().encode


class Mapped(msgspec.Struct, Generic[R], frozen=True):
    """A row and what came of it: a reply or an error."""

    row: R
    number: int  # of the row, from 0
    reply: ChatReply | None = None
    error: StanchionError | None = None

    @property
    def text(self) -> str:
        """The text of the reply.  Raises the error where there is none."""
        return self._reply().text

    def parsed(self, kind: type[T]) -> T:
        """Return the text as this type, as `ChatReply.parsed` does.  Raises the error where there is no reply."""
        return self._reply().parsed(kind)

    def _reply(self) -> ChatReply:
        if self.error is not None:
            raise self.error
        assert self.reply is not None  # noqa: S101 - it is one or the other
        return self.reply


class _Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of an answer beside its body."""

    usage: Usage | None = None
    endpoint: str = ""
    model: str = ""
    request_id: str = ""


class Kept:
    """Answers of earlier runs, in a folder.  A `Shelf` for those of this run."""

    def __init__(self, journal: Journal, prices: Prices) -> None:
        self._journal = journal
        self._prices = prices
        self._key = RowKey(b"client.map")

    @classmethod
    async def open(cls, folder: Path, prices: Prices) -> Kept:
        """Open or begin it.  Raises JournalError, OSError."""
        return cls(await asyncio.to_thread(Journal.open, folder), prices)

    def key(self, body: bytes) -> bytes:
        """Return the key of a request."""
        return self._key(body)

    def find(self, key: bytes) -> ChatReply | None:
        """Return the reply that was kept under a key.  It cost nothing now."""
        entry = self._journal.entry_of(key)
        if entry is None:
            return None
        record = self._journal.record(entry)
        meta = msgspec.json.decode(record.meta, type=_Meta)
        now = asyncio.get_running_loop().time()
        headers = {"x-request-id": meta.request_id} if meta.request_id else {}
        head = Head(
            status=record.status, endpoint=meta.endpoint, model=meta.model, headers=headers, cache="hit"
        )
        return made(record.body, Facts(head, meta.usage, Trail(), self._prices, now, now, now))

    def put(self, key: bytes, reply: ChatReply, head: Head) -> None:
        """Keep a reply."""
        meta = _Meta(reply.usage, head.endpoint, head.model, head.headers.get("x-request-id", ""))
        cost = reply.cost
        micro_usd = 0 if cost is None else int(cost.scaleb(6))
        self._journal.put(Record(key, Kind.ANSWERED, head.status, micro_usd, _encode(meta), reply.raw))

    @property
    def unwritten(self) -> int:
        """Count the replies that the end of this process would lose."""
        return self._journal.unwritten

    async def eased(self) -> None:
        """Wait until fewer replies are unwritten."""
        await self._journal.eased()

    async def aclose(self) -> None:
        """Wait for the disk and let others have it."""
        await self._journal.aclose()


def made(raw: bytes, facts: Facts) -> ChatReply:
    """Return a chat completion of these bytes.  Raises Unusable if they are none."""
    events = _read(raw)
    if not events:
        raise Unusable("the provider's answer is empty")
    return ChatReply(raw, events[0], facts)
