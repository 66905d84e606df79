"""Takes lines to the ledger's store, many at a time, through the outbox.

A line waits here, in memory, until the store has it: `kill -9` loses what waits, which is what came in the last
moment while the store is well.  A batch whose outcome is not known is sent again, and nothing is booked twice.
While the store is lost lines wait, at most `waiting_most` of them; what comes beyond it is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from stanchion.core.clock import Clock
from stanchion.engine.outbox import Outbox
from stanchion.engine.settings import LedgerOptions
from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics
from stanchion.stores.ledger import FORGET_MOST, LedgerStore, Line
from stanchion.stores.protocols import StoreLost

log = logging.getLogger(__name__)
# The first line waits for others: a transaction for two or three of them costs each more than its own writing.
_GATHER_S = 0.1
_BATCH_MOST = 400  # lines in one transaction: writing them down takes the loop a millisecond
_AGAIN_S = 1.0  # seconds until a lost store is asked again
_FORGET_S = 600.0  # seconds between two looks for lines that are too old
_FORGET_STEPS = 50  # steps at one look, so that new lines do not wait for long
_LAST_S = 5.0  # seconds for what is left at the end
_DAY_S = 86_400.0


class Ledger:
    """The lines that wait for one store."""

    def __init__(
        self,
        store: LedgerStore,
        options: LedgerOptions,
        outbox: Outbox,
        clock: Clock,
        metrics: Metrics,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.options = options
        self._outbox = outbox
        self._clock = clock
        self._wall = wall
        self._written = metrics.ledger_lines.of("written")
        self._dropped = metrics.ledger_lines.of("dropped")
        self._lost = metrics.ledger_store_lost.of()
        self._waiting: deque[Line] = deque()
        self._posted = False  # a write is in the outbox, or an alarm stands that puts it there
        self._alarm: int | None = None
        self._forget_at = 0.0  # on the loop's clock

    def post(self, line: Line) -> None:
        """Take a line.  Never waits."""
        if len(self._waiting) >= self.options.waiting_most:
            self._drop(1)
            return
        self._waiting.append(line)
        if not self._posted:
            self._soon(_GATHER_S)

    async def aclose(self) -> None:
        """Try once more to write what waits, and close the store."""
        if self._alarm is not None:
            self._clock.take_back(self._alarm)
            self._alarm = None
        try:
            async with asyncio.timeout(_LAST_S):
                while self._waiting:
                    await self._write_batch()
        except (StoreLost, TimeoutError):
            self._drop(len(self._waiting))
            self._waiting.clear()
        finally:
            await self.store.aclose()

    def _soon(self, after_s: float) -> None:
        self._posted = True
        self._alarm = self._clock.set(self._clock.now() + after_s, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._posted = self._outbox.put(self._write)

    async def _write(self) -> None:
        """Write what waits; of what is added meanwhile, whole batches."""
        try:
            await self._forget()
            await self._write_batch()
            while len(self._waiting) >= _BATCH_MOST:
                await self._write_batch()
        except StoreLost as error:
            if not self._lost.value:
                self._lost.set(1)
                log_event(log, logging.ERROR, "ledger.store_lost", why=str(error), waiting=len(self._waiting))
            self._soon(_AGAIN_S)
            return
        except BaseException:
            self._posted = False  # the next line tries again
            raise
        self._posted = False
        if self._waiting:
            self._soon(_GATHER_S)

    async def _write_batch(self) -> None:
        batch = tuple(islice(self._waiting, _BATCH_MOST))
        if not batch:
            return
        await self.store.add(batch)
        for _ in batch:
            self._waiting.popleft()
        self._written.inc(len(batch))
        if self._lost.value:
            self._lost.set(0)
            log_event(log, logging.WARNING, "ledger.store_back", waiting=len(self._waiting))

    async def _forget(self) -> None:
        """Drop lines that are too old, now and then."""
        now, days = self._clock.now(), self.options.keep_days
        if not days or now < self._forget_at:
            return
        self._forget_at = now + _FORGET_S
        for _ in range(_FORGET_STEPS):
            if await self.store.forget(self._wall() - days * _DAY_S) < FORGET_MOST:
                return
        self._forget_at = now  # there is more

    def _drop(self, count: int) -> None:
        if count:
            if not self._dropped.value:
                log_event(log, logging.ERROR, "ledger.dropped", waiting=len(self._waiting))
            self._dropped.inc(count)
