"""The stores of one process: limits and the key book in memory.

The reference for the others, and a full peer of theirs.  No step awaits anything, so each is atomic for
everything on the same event loop; use one only from one loop.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from stanchion.core.caller import Entry
from stanchion.rules.meter import Meter
from stanchion.stores.protocols import (
    ORDERS_MOST,
    ORDERS_OLDEST_S,
    PEPPER_BYTES,
    Callers,
    Change,
    KeyOrder,
    KeyReport,
    Slot,
    Take,
    Taken,
)

SLOT_WAIT_LEAST_S = 0.001  # a full slot is never worth asking again sooner
FORGET_S = 86_400.0  # a meter that has been full for so long is forgotten
_SWEEP_FROM = 1024  # meters or groups of holders; fewer are not worth sweeping


class MemoryLimits:
    """Limits of one process.  `now` is a clock in seconds, such as the event loop's `time`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._meters: dict[str, Meter] = {}
        self._holders: dict[str, dict[str, float]] = {}  # by slot: by holder: when it expires
        self._groups: dict[str, dict[str, float]] = {}  # by group: by member: when it is dead
        self._sweep_at = _SWEEP_FROM

    async def take(self, takes: Sequence[Take], slots: Sequence[Slot], holder: str) -> Taken:
        now, known, wait_s = self._now(), self._meters, 0.0
        meters: list[Meter] = []  # `list[Meter]()` takes a microsecond, and each call comes by here
        for take in takes:
            meter = known.get(take.meter)
            if meter is None:
                meter = self._meter(take.meter, now)
                known = self._meters
            meters.append(meter)
            each_s = meter.wait_s(now, take.cost_s, take.room_s)
            if each_s > wait_s:
                wait_s = each_s
        for slot in slots:
            each_s = self._slot_wait_s(slot, holder, now)
            if each_s > wait_s:
                wait_s = each_s
        if wait_s == 0.0:
            for place, take in enumerate(takes):
                meters[place].book(now, take.cost_s)
            for slot in slots:
                self._holders.setdefault(slot.name, {})[holder] = now + slot.ttl_s
        return Taken(
            wait_s,
            now,
            tuple([each.full_at - now if each.full_at > now else 0.0 for each in meters]),
            tuple([each.booked_s for each in meters]),
        )

    async def change(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        self.change_now(changes, free, holder)

    def change_now(self, changes: Sequence[Change], free: Sequence[str], holder: str) -> None:
        """As `change`, for those who cannot wait: it never does."""
        now = self._now()
        for change in changes:
            apply(change, self._meter(change.meter, now), now)
        for name in free:
            holders = self._holders.get(name)
            if holders is not None:
                holders.pop(holder, None)
                if not holders:
                    del self._holders[name]

    def take_here(self, takes: Sequence[Take]) -> list[Meter] | None:
        """Take where all have room for it, and return the meters, to be told more; None: nothing was taken.

        For those whose calls cannot outlive this store, and ask `take` for the reason of a None.
        """
        now, known = self._now(), self._meters
        meters: list[Meter] = []
        for take in takes:
            meter = known.get(take.meter)
            if meter is None:
                meter = self._meter(take.meter, now)
                known = self._meters
            if not meter.take(now, take.cost_s, take.room_s):
                for place, each in enumerate(meters):
                    each.book(now, -takes[place].cost_s)
                return None
            meters.append(meter)
        return meters

    async def beat(self, group: str, member: str, ttl_s: float) -> int:
        now = self._now()
        members = {each: until for each, until in self._groups.get(group, {}).items() if until > now}
        members[member] = now + ttl_s
        self._groups[group] = members
        return len(members)

    async def aclose(self) -> None:
        """Nothing is open."""

    def follow(self, takes: Sequence[Take], depths_s: Sequence[float]) -> None:
        """Make each meter as deep as another store says it is."""
        now = self._now()
        for take, depth_s in zip(takes, depths_s, strict=True):
            self._meter(take.meter, now).full_at = now + depth_s

    def enter(self, slots: Sequence[Slot], holder: str) -> None:
        """Put the holder in each slot, whether there is a place or not."""
        now = self._now()
        for slot in slots:
            self._holders.setdefault(slot.name, {})[holder] = now + slot.ttl_s

    def depths(self) -> list[tuple[str, float]]:
        """Return the meters that are not full, each with its depth."""
        now = self._now()
        return [(name, each.full_at - now) for name, each in self._meters.items() if each.full_at > now]

    def held(self) -> dict[str, list[tuple[str, float]]]:
        """Return by holder the slots it has, each with the time it has left there."""
        now, found = self._now(), dict[str, list[tuple[str, float]]]()
        for name, holders in self._holders.items():
            for holder, until in holders.items():
                if until > now:
                    found.setdefault(holder, []).append((name, until - now))
        return found

    def _meter(self, name: str, now: float) -> Meter:
        meter = self._meters.get(name)
        if meter is None:
            if len(self._meters) + len(self._holders) >= self._sweep_at:
                self._sweep(now)
            meter = self._meters[name] = Meter(born_at=now)
        return meter

    def _slot_wait_s(self, slot: Slot, holder: str, now: float) -> float:
        """Say in how many seconds there may be a place; 0: now."""
        if slot.most <= 0:
            return float("inf")  # a slot for nobody
        holders = self._holders.get(slot.name)
        if holders is None or len(holders) < slot.most:
            return 0.0
        for each in [each for each, until in holders.items() if until <= now]:
            del holders[each]
        if len(holders) < slot.most or holder in holders:
            return 0.0
        return max(min(holders.values()) - now, SLOT_WAIT_LEAST_S)

    def _sweep(self, now: float) -> None:
        """Forget what is long over.  Done when it has doubled, so each meter pays a constant share."""
        meters, holders = self._meters, self._holders
        self._meters = {
            name: each for name, each in meters.items() if max(each.full_at, each.born_at) + FORGET_S > now
        }
        self._holders = {
            name: each for name, each in holders.items() if max(each.values(), default=0.0) > now
        }
        self._sweep_at = max(_SWEEP_FROM, 2 * (len(self._meters) + len(self._holders)))


def apply(change: Change, meter: Meter, now: float) -> None:
    """Follow the news, in the order that all stores share."""
    if change.seen is not None:
        meter.heard(change.seen.at, change.seen.booked_s, change.seen.depth_s, change.seen.gain)
    if change.cost_s:
        meter.book(now, change.cost_s)
    if change.hold_s > 0:
        meter.hold(now, change.hold_s)


class MemoryKeyBook:
    """The key book of one process.  `now` is a wall clock in seconds."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._pepper = secrets.token_bytes(PEPPER_BYTES)
        self._reports: dict[tuple[str, str], tuple[float, KeyReport]] = {}
        self._orders: deque[tuple[float, KeyOrder]] = deque(maxlen=ORDERS_MOST)
        self._number = 0

    async def pepper(self) -> bytes:
        return self._pepper

    async def report(self, reports: Sequence[KeyReport]) -> None:
        now = self._now()
        for report in reports:
            self._reports[report.key, report.replica] = (now, report)

    async def reports(self, *, younger_than_s: float) -> Sequence[KeyReport]:
        since = self._now() - younger_than_s
        return [report for _, (at, report) in sorted(self._reports.items()) if at > since]

    async def order(self, order: KeyOrder) -> int:
        now = self._now()
        while self._orders and self._orders[0][0] <= now - ORDERS_OLDEST_S:
            self._orders.popleft()
        self._number += 1
        self._orders.append((now, msgspec.structs.replace(order, number=self._number)))
        return self._number

    async def orders(self, after: int) -> Sequence[KeyOrder]:
        oldest = self._now() - ORDERS_OLDEST_S
        return [order for at, order in self._orders if order.number > after and at > oldest]

    async def aclose(self) -> None:
        """Nothing is open."""


class MemoryCallerBook:
    """The caller book of one process."""

    def __init__(self) -> None:
        self._pepper = secrets.token_bytes(PEPPER_BYTES)
        self._version = 0
        self._entries: dict[tuple[str, str], Entry] = {}

    async def read(self, known: int = -1) -> Callers | None:
        if known == self._version:
            return None
        return Callers(self._version, self._pepper, [self._entries[at] for at in sorted(self._entries)])

    async def write(self, entries: Sequence[Entry], *, at: int) -> bool:
        if at != self._version:
            return False
        self._entries.update({(kind_of(entry), entry.name): entry for entry in entries})
        self._version += 1
        return True

    async def aclose(self) -> None:
        """Nothing is open."""


def kind_of(entry: Entry) -> str:
    """Return the word under which an entry is stored."""
    return str(entry.__struct_config__.tag)
