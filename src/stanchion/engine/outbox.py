"""What must do I/O at the end of a call goes here: a bounded queue, drained by a task the engine owns.

End hooks are synchronous, so they put an item and go on.  When the queue is full the item is dropped,
counted and logged: the end of a call never waits for a slow store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stanchion.observe.logs import log_event
from stanchion.observe.metrics import Metrics

log = logging.getLogger(__name__)
Item = Callable[[], Awaitable[None]]


class Outbox:
    """A queue of small asynchronous jobs, done one after the other."""

    def __init__(self, metrics: Metrics, *, most: int = 10_000) -> None:
        """`most`: items that may wait."""
        self._items: asyncio.Queue[Item] = asyncio.Queue(most)
        self._metrics = metrics

    def put(self, item: Item) -> bool:
        """Add an item; False if the outbox is full and it was dropped."""
        try:
            self._items.put_nowait(item)
        except asyncio.QueueFull:
            self._metrics.outbox_dropped.of().inc()
            log_event(log, logging.ERROR, "outbox.dropped", waiting=self._items.qsize())
            return False
        return True

    async def run(self) -> None:
        """Do the items, for ever.  One that fails is logged and the next is done."""
        while True:
            item = await self._items.get()
            try:
                await item()
            except Exception:  # a task boundary: one bad item must not stop the rest
                log.exception("outbox.item_failed")
            finally:
                self._items.task_done()

    async def drain(self, within_s: float) -> bool:
        """Wait until all items are done; False if it took longer than `within_s` seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._items.join()
        except TimeoutError:
            log_event(log, logging.ERROR, "outbox.not_drained", waiting=self._items.qsize())
            return False
        return True
