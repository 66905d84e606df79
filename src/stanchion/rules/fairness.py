"""Whose turn it is: callers by fair share, interactive calls before batch, and batch never starves.

Interactive calls go first.  Once the batch call that waits longest has waited `ageing_s`, batch gets
`batch_share` of the work, and no more than that while interactive calls wait: a flood of aged batch calls
does not stand before people.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Generic

from stanchion.rules.fair_share import E, FairShare

_DEAD_FEW = 32
_ROUNDING = 1e-9


class FairQueue(Generic[E]):
    """A line of calls.  It has no clock: `now` is given in."""

    def __init__(
        self, *, ageing_s: float = 30.0, batch_share: float = 0.1, weights: Mapping[str, float] | None = None
    ) -> None:
        self._ageing_s = ageing_s
        self._share = batch_share
        self._weights = weights or {}
        self._interactive = FairShare[E]()
        self._batch = FairShare[E]()
        self._oldest: deque[E] = deque()  # batch calls as they came; those that left may be among them
        self._credit = 0.0  # the work that batch may do now, of what interactive calls did since it is aged

    def __len__(self) -> int:
        return len(self._interactive) + len(self._batch)

    @property
    def cost(self) -> float:
        """The work of all that wait."""
        return self._interactive.cost + self._batch.cost

    def push(self, entry: E, *, front: bool = False) -> None:
        """Let a call wait; `front`: before its caller's others."""
        self._of(entry).push(entry, self._weights.get(entry.caller, 1.0), front=front)
        if entry.batch:
            self._remember(entry)

    def put_back(self, entry: E) -> None:
        """Let a call that was popped wait again, at the head."""
        self._of(entry).put_back(entry, self._weights.get(entry.caller, 1.0))
        if entry.batch:
            self._remember(entry, first=True)

    def head(self, now: float) -> E | None:
        """Return whose turn it is; None if nobody waits who may be served."""
        person, machine = self._interactive.head(), self._batch.head()
        if person is None or machine is None or not self._aged(now):
            self._credit = 0.0
            return machine if person is None else person
        return machine if self._credit >= (1.0 - self._share) * machine.cost - _ROUNDING else person

    def pop(self, now: float) -> E | None:
        """Take out whose turn it is."""
        entry = self.head(now)
        if entry is None:
            return None
        self._of(entry).pop()
        if entry.batch:
            self._credit = max(0.0, self._credit - (1.0 - self._share) * entry.cost)
        elif len(self._batch) and self._aged(now):
            self._credit += self._share * entry.cost
        return entry

    def remove(self, entry: E) -> bool:
        """Take a call out that does not wait any longer.  False if it was not waiting."""
        if not entry.waiting:
            return False
        self._of(entry).remove(entry)
        return True

    def park(self, caller: str) -> None:
        """Pass this caller over until `unpark`."""
        self._interactive.park(caller)
        self._batch.park(caller)

    def unpark(self, caller: str) -> None:
        """Serve this caller again."""
        self._interactive.unpark(caller)
        self._batch.unpark(caller)

    def ahead(self, caller: str, *, batch: bool = False) -> float:
        """Estimate the work in front of a new call.  What comes later and goes before it is not in it."""
        weight = self._weights.get(caller, 1.0)
        if batch:
            return self._interactive.cost + self._batch.ahead(caller, weight)
        work = self._interactive.ahead(caller, weight)
        return min(work / (1.0 - self._share), work + self._batch.cost)

    def _of(self, entry: E) -> FairShare[E]:
        return self._batch if entry.batch else self._interactive

    def _remember(self, entry: E, *, first: bool = False) -> None:
        if first:
            self._oldest.appendleft(entry)
        else:
            self._oldest.append(entry)
        if len(self._oldest) > 2 * len(self._batch) + _DEAD_FEW:
            self._oldest = deque(each for each in self._oldest if each.waiting)

    def _aged(self, now: float) -> bool:
        oldest = self._oldest
        while oldest and not oldest[0].waiting:
            oldest.popleft()
        return bool(oldest) and now - oldest[0].at >= self._ageing_s
