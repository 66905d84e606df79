"""Start-time fair queueing over callers: each backlogged caller gets its weight's share, whoever floods.

Goyal, Vin, Cheng, "Start-time Fair Queueing" (SIGCOMM 1996).  A caller's next call starts at its own finish
tag, or at the line's virtual time if it was idle; the lowest start goes first; finish = start + cost / weight.
So over any time in which two callers wait, their service by weight differs by one call of each at most.

Two things differ from the paper.  Tags belong to callers, not to calls: a call that leaves costs its caller
nothing, and the heap holds callers.  And virtual time also moves by the work done, as in weighted fair
queueing: in the paper it stands still while new callers come, and whoever makes up callers could hold back
one who was served before for ever.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, TypeVar

_DEAD_FEW = 32  # that many dead ones are not worth making anew what holds them
_LOOKED_AT_MOST = 64  # callers, for an estimate; of more, these stand for all


class Entry:
    """One call that waits.  A subclass holds the call: one object less for each that waits."""

    __slots__ = ("at", "batch", "caller", "cost", "number", "start", "waiting")

    def __init__(self, caller: str, cost: float, at: float, *, batch: bool = False) -> None:
        self.caller = caller
        self.cost = cost
        self.at = at  # since when it waits
        self.batch = batch
        self.waiting = False
        self.start = 0.0  # its tag, once it was taken out
        self.number = 0  # and its caller's place among equal tags


E = TypeVar("E", bound=Entry)


class _Flow(Generic[E]):
    """What is known of one caller."""

    __slots__ = ("caller", "cost", "entries", "live", "number", "parked", "start", "weight")

    def __init__(self, caller: str, weight: float, start: float) -> None:
        self.caller = caller
        self.weight = weight
        self.start = start  # of its next call
        self.number = 0  # its place in the heap, for ties
        self.entries: deque[E] = deque()  # those that left may be among them
        self.live = 0
        self.cost = 0.0  # of those that wait
        self.parked = False


class FairShare(Generic[E]):
    """The calls of one priority."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[E]] = {}
        self._heap: list[
            tuple[float, int, _Flow[E]]
        ] = []  # a caller that was served stays until its tag passes
        self._virtual = 0.0
        self._served = 0.0  # by how much the call that was taken last moves virtual time, once it is done
        self._last = 0
        self._weights = 0.0  # of callers that wait
        self._active = 0  # callers that wait
        self.cost = 0.0  # of all that wait
        self._size = 0
        self._patience = 0

    def __len__(self) -> int:
        return self._size

    def push(self, entry: E, weight: float, *, front: bool = False) -> None:
        """Let a call wait behind its caller's others; `front`: before them."""
        entry.waiting = True
        flow = self._flows.get(entry.caller)
        if flow is None:
            flow = self._flows[entry.caller] = _Flow(entry.caller, weight, self._virtual)
            self._place(flow)
        elif not flow.live:
            flow.weight = weight
            if flow.start < self._virtual:  # it was idle meanwhile: what it did not use is not kept for it
                flow.start = self._virtual
                self._place(flow)
        self._add(flow, entry, front=front)

    def put_back(self, entry: E, weight: float) -> None:
        """Let a call that was taken out wait again, as if it had not been taken."""
        flow = self._flows.get(entry.caller)
        if flow is None:
            flow = self._flows[entry.caller] = _Flow(entry.caller, weight, entry.start)
        else:
            flow.start -= entry.cost / flow.weight
        entry.waiting = True
        self._add(flow, entry, front=True)
        self._place(flow, entry.number)

    def head(self) -> E | None:
        """Return whose turn it is; None if nobody waits who may be served."""
        heap = self._heap
        while heap:
            start, number, flow = heap[0]
            if number == flow.number:
                if flow.live:
                    entries = flow.entries
                    while not entries[0].waiting:
                        entries.popleft()
                    return entries[0]
                # a caller that has nothing more: its tag is passed, and so is what was known of it
                self._virtual = max(self._virtual, start)
                del self._flows[flow.caller]
            heappop(heap)
        return None

    def pop(self) -> E:
        """Take the head out.  There must be one."""
        entry = self.head()
        assert entry is not None  # noqa: S101 - the caller asked before
        flow = self._heap[0][2]
        entry.start, entry.number = flow.start, flow.number
        self._virtual = max(self._virtual + self._served, flow.start)
        self._served = entry.cost / self._weights
        flow.entries.popleft()
        flow.start += entry.cost / flow.weight
        self._last = flow.number = self._last + 1
        heapreplace(self._heap, (flow.start, flow.number, flow))
        self._take_away(flow, entry)
        return entry

    def remove(self, entry: E) -> None:
        """Take a call out that waits no longer, wherever it stands."""
        flow = self._flows[entry.caller]
        self._take_away(flow, entry)
        if len(flow.entries) > 2 * flow.live + _DEAD_FEW:
            flow.entries = deque(each for each in flow.entries if each.waiting)

    def park(self, caller: str) -> None:
        """Pass this caller over until `unpark`.  One who has nothing waiting is not parked."""
        flow = self._flows.get(caller)
        if flow is not None and flow.live and not flow.parked:
            flow.parked, flow.number = True, -1

    def unpark(self, caller: str) -> None:
        """Serve this caller again."""
        flow = self._flows.get(caller)
        if flow is not None and flow.parked:
            flow.parked, flow.start = False, max(flow.start, self._virtual)
            self._place(flow)

    def ahead(self, caller: str, weight: float) -> float:
        """Estimate the cost of what would be served before a new call of this caller."""
        own = self._flows.get(caller)
        ahead = own.cost if own is not None else 0.0
        reach = max(self._virtual, own.start + own.cost / own.weight) if own is not None else self._virtual
        seen, found = 0, 0.0
        for flow in self._flows.values():
            if flow is own or not flow.live:
                continue
            seen += 1
            if flow.start <= reach:  # up to that tag, and one call that straddles it
                found += min(flow.cost, (reach - flow.start) * flow.weight + flow.cost / flow.live)
            if seen == _LOOKED_AT_MOST:
                break
        others = self._active - (own is not None and own.live > 0)
        return min(self.cost, ahead + (found * others / seen if seen else 0.0))

    def _add(self, flow: _Flow[E], entry: E, *, front: bool) -> None:
        if not flow.live:
            flow.entries.clear()
            self._active += 1
            self._weights += flow.weight
        if front:
            flow.entries.appendleft(entry)
        else:
            flow.entries.append(entry)
        flow.live += 1
        flow.cost += entry.cost
        self.cost += entry.cost
        self._size += 1

    def _take_away(self, flow: _Flow[E], entry: E) -> None:
        entry.waiting = False
        flow.live -= 1
        flow.cost -= entry.cost
        self.cost -= entry.cost
        self._size -= 1
        if not flow.live:
            flow.cost = 0.0
            self._active -= 1
            self._weights -= flow.weight
            if flow.parked:  # it stands in no heap, so nothing else would forget it
                del self._flows[flow.caller]
        if not self._size:
            self._begin_anew()
        elif len(self._flows) > 2 * self._active + _DEAD_FEW:
            self._patience -= 1  # looking through all callers is paid by as many calls
            if self._patience <= 0:
                self._forget_idle()
                self._patience = len(self._flows)

    def _place(self, flow: _Flow[E], number: int = 0) -> None:
        """Put a caller in the heap; where it stood before counts no longer.  One that is parked stands nowhere."""
        if flow.parked:
            return
        self._last += 1
        flow.number = number or self._last
        heappush(self._heap, (flow.start, flow.number, flow))
        if len(self._heap) > 2 * len(self._flows) + _DEAD_FEW:
            self._make_heap()

    def _begin_anew(self) -> None:
        """Nobody waits: no sums of rounding errors, and no memory of who was served."""
        self._flows.clear()
        self._heap.clear()
        self._virtual = self._served = self._weights = self.cost = 0.0

    def _forget_idle(self) -> None:
        """Forget callers that wait no more and have no tag ahead of virtual time."""
        for flow in [each for each in self._flows.values() if not each.live and each.start <= self._virtual]:
            flow.number = -1
            del self._flows[flow.caller]
        self._make_heap()

    def _make_heap(self) -> None:
        self._heap = [each for each in self._heap if each[1] == each[2].number]
        heapify(self._heap)
