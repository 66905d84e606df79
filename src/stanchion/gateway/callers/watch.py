"""Follows the caller book: every two seconds it is asked whether it is at another version.

So a revoked key is refused on every replica within that time and what the store takes to answer, which is bounded.
While the book cannot be read, what was known last holds, for `callers.lost_most_s`; after that nobody is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from stanchion.core.caller import Caller, CallerKey, Entry, Team
from stanchion.core.clock import Clock
from stanchion.gateway.callers.index import CallerIndex
from stanchion.observe.logs import log_event
from stanchion.stores.opening import shown
from stanchion.stores.protocols import CallerBook

log = logging.getLogger(__name__)
EVERY_S = 2.0
_ANSWER_S = 2.0  # a book that takes longer is lost until the next look


class CallerWatch:
    """The book as this process knows it."""

    def __init__(self, book: CallerBook, clock: Clock, *, url: str, lost_most_s: Callable[[], float]) -> None:
        self.book = book
        self._lost_most_s = lost_most_s  # asked each time: a reload can change it
        self._clock = clock
        self._url = url
        self._index: CallerIndex | None = None
        self._heard_at = 0.0
        self._lost = False

    @property
    def index(self) -> CallerIndex | None:
        """The keys that are known; None if the book was never read, or not for too long."""
        if self._lost and self._clock.now() - self._heard_at > self._lost_most_s():
            return None
        return self._index

    async def begin(self) -> None:
        """Read the book before the first call; if it does not answer soon, callers are refused until it does."""
        await self.look()

    async def run(self) -> None:
        """Follow the book until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Read the book if it is at another version.  Raises nothing."""
        try:
            with self._clock.timeout_at(self._clock.now() + _ANSWER_S):
                found = await self.book.read(self._index.version if self._index is not None else -1)
        except Exception as error:  # noqa: BLE001 - whatever a store's driver raises: calls do not wait for it
            self._lose(error)
            return
        self._heard_at = self._clock.now()
        if found is not None:
            before, self._index = self._index, CallerIndex(found)
            if before is not None:
                _tell(before, self._index)
        if self._lost:
            self._lost = False
            log_event(log, logging.WARNING, "callers.store_back", store=shown(self._url))

    async def aclose(self) -> None:
        """Close the book."""
        await self.book.aclose()

    def _lose(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            log_event(
                log,
                logging.ERROR,
                "callers.store_lost",
                store=shown(self._url),
                why=type(error).__name__,
                holds_s=self._lost_most_s() if self._index is not None else 0.0,
            )


def _tell(before: CallerIndex, after: CallerIndex) -> None:
    """Log what changed, whoever changed it: the audit log."""
    for at, entry in after.entries.items():
        older = before.entries.get(at)
        if older != entry:
            log_event(
                log,
                logging.INFO,
                "callers.changed",
                kind=_KINDS[type(entry)],
                name=entry.name,
                what=_what(older, entry),
                by=entry.by or None,
                version=after.version,
            )


_KINDS = {Team: "team", Caller: "caller", CallerKey: "key"}


def _what(older: Entry | None, entry: Entry) -> str:
    if older is None:
        return "added"
    if (
        isinstance(entry, CallerKey)
        and isinstance(older, CallerKey)
        and entry.revoked_at
        and not older.revoked_at
    ):
        return "revoked"
    return "changed"
