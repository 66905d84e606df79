"""What replicas and `stanchion keys` tell each other about keys: reports go out, orders come in.

Through a key book, which may be a file, Redis or PostgreSQL.  Neither holds a key: keys are named by their slot
and told apart by fingerprints, which all who share the book make with its pepper.
If the book cannot be reached, calls go on; what was to be said waits, within a bound.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import platform
import time
from collections import deque
from collections.abc import Callable

from stanchion.core.clock import Clock
from stanchion.keys.ring import KeyRing
from stanchion.keys.slot import KeySlot
from stanchion.observe.logs import log_event
from stanchion.rules.refusals import BILLING
from stanchion.stores.protocols import KeyBook, KeyOrder, KeyReport

log = logging.getLogger(__name__)
EVERY_S = 2.0
BY_HAND = "operator"  # the reason of a quarantine that only a person ends
_OPEN_S = 2.0  # the book may take to say what was ordered before we began
_WAITING_MOST = 1000  # orders of ours that may wait; the oldest are dropped


class KeyExchange:
    """One engine's side of a key book."""

    def __init__(
        self, ring: KeyRing, book: KeyBook, clock: Clock, *, wall: Callable[[], float] = time.time
    ) -> None:
        """`wall` tells the time of day, in seconds since 1970."""
        self.replica = f"{platform.node() or 'here'}:{os.getpid()}"
        self._ring = ring
        self._book = book
        self._clock = clock
        self._wall = wall
        self._after = 0  # the last order that was read
        self._ours = set[int]()  # orders that we gave ourselves
        self._outgoing: deque[KeyOrder] = deque(maxlen=_WAITING_MOST)
        self._begun = False
        self._lost = False
        ring.tell = self._tell

    async def begin(self) -> None:
        """Take over what was ordered before; give up soon if the book does not answer."""
        try:
            async with asyncio.timeout(_OPEN_S):
                await self._begin()
        except Exception as error:  # noqa: BLE001 - whatever a store's driver raises: calls do not wait for it
            self._failed(error)

    async def run(self) -> None:
        """Report and read orders, for ever."""
        while True:
            try:
                if not self._begun:
                    await self._begin()
                await self.once()
                self._lost = False
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(error)
            await asyncio.sleep(EVERY_S)

    async def once(self) -> None:
        """Send our orders, report, read the orders of others."""
        while self._outgoing:
            self._ours.add(await self._book.order(self._outgoing[0]))
            self._outgoing.popleft()
        for order in await self._book.orders(self._after):
            self._after = order.number
            if order.number in self._ours:
                self._ours.discard(order.number)
            else:
                self._obey(order)
        if self._ring.slots:
            await self._book.report(self.reports())

    async def aclose(self) -> None:
        """Send what waits, and close the book."""
        try:
            async with asyncio.timeout(1.0):
                if self._begun:
                    await self.once()
        except Exception as error:  # noqa: BLE001 - as above; we are leaving
            log.debug("key.book_left: %s", type(error).__name__)
        finally:
            await self._book.aclose()

    def reports(self) -> list[KeyReport]:
        """Say how each key is."""
        at, now = self._wall(), self._clock.now()
        return [
            KeyReport(
                key=slot.name,
                replica=self.replica,
                fingerprint=self._ring.fingerprint(slot),
                state=_state(slot),
                since=at - (now - slot.since),
                error=slot.last_error,
                error_at=at - (now - slot.last_error_at) if slot.last_error else 0.0,
                in_flight=slot.in_flight,
                quota=self._ring.quota(slot.name),
                at=at,
            )
            for slot in self._ring.slots.values()
        ]

    async def _begin(self) -> None:
        self._ring.pepper = await self._book.pepper()
        last: dict[str, KeyOrder] = {}
        for order in await self._book.orders(0):
            self._after = order.number
            slot = self._ring.slots.get(order.key)
            if slot is not None and order.what != "rotate" and self._meant(slot, order):
                last[order.key] = order
        for order in last.values():
            if order.what == "quarantine":
                self._obey(order)
        self._begun = True

    def _meant(self, slot: KeySlot, order: KeyOrder) -> bool:
        """Say whether an order is about the value that is in use."""
        return not order.fingerprint or order.fingerprint == self._ring.fingerprint(slot)

    def _obey(self, order: KeyOrder) -> None:
        slot = self._ring.slots.get(order.key)
        if slot is None or not self._meant(slot, order):
            return
        if order.what == "rotate":
            self._ring.look_now(slot)
        elif order.what == "release":
            if slot.quarantine is not None:
                self._ring.release(slot.quarantine, "order")
        elif order.reason == BY_HAND:
            self._ring.ordered(slot, BY_HAND, math.inf, by_call=False)
        else:
            rest_for_s = max(0.0, self._ring.options.probe_s - (self._wall() - order.at))
            self._ring.ordered(slot, order.reason, rest_for_s, by_call=order.reason in BILLING)

    def _tell(self, slot: KeySlot, what: str, code: str) -> None:
        self._outgoing.append(
            KeyOrder(
                key=slot.name,
                what="quarantine" if what == "quarantine" else "release",
                fingerprint=self._ring.fingerprint(slot),
                reason=code,
                at=self._wall(),
            )
        )

    def _failed(self, error: Exception) -> None:
        if not self._lost:
            log_event(
                log,
                logging.WARNING,
                "key.book_lost",
                why=type(error).__name__,
                then="keys are looked after here alone; it is asked again",
            )
        self._lost = True


def _state(slot: KeySlot) -> str:
    return f"{slot.word}: {slot.quarantine.code}" if slot.quarantine is not None else slot.word
