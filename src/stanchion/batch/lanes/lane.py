"""What a lane is: it takes work, and says what came of each piece.

Push, not pull: a lane takes as much as it can have open, sync calls by the dozen and a provider's batch by the
ten thousand, and tells of each answer when it is there.  What it cannot do goes back, for another lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from stanchion.batch.answers import Answer
from stanchion.batch.rows import Request
from stanchion.core.usage import Usage


class Item(msgspec.Struct, eq=False, gc=False):
    """One request that must be asked; rows that ask the same are one item."""

    key: bytes  # 16 bytes, by what it asks: its name in the journal
    number: int  # of the first row that asks it
    request: Request
    attempts: int = 0  # tries so far, of lanes that gave it back
    repairs: int = 0  # answers so far that did not fit the schema
    cost_micro_usd: int = 0  # of those, and of tries that broke off, at the most that they can have cost
    usage: Usage | None = None  # of those


class Work(Protocol):
    """What is to be done.  All methods are for the event loop's thread."""

    async def take(self, most: int) -> Sequence[Item]:
        """Return from 1 to `most` items as soon as one is there; none: there will be no more, or the job stops.

        Whoever takes an item ends it by `done` or `back`; the job waits for that.
        """
        ...

    def done(self, item: Item, answer: Answer) -> None:
        """Record what came of an item.  It is final."""
        ...

    def back(self, item: Item) -> None:
        """Give an item back unasked, or asked in vain: another lane, or another run, is to ask it."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the job is to end before all is done: nothing new is begun, what is in flight may finish."""
        ...

    async def until_stopped(self) -> None:
        """Wait until `stopping`.  Cancel it when the lane ends."""
        ...

    @property
    def unwritten(self) -> int:
        """Count the answers that the end of this process would lose."""
        ...

    @property
    def crowded(self) -> bool:
        """Whether more waits to be written than should: whoever tells of answers is to wait for `recorded`."""
        ...

    async def recorded(self) -> None:
        """Wait until all that was `done` so far is written.  Raises JournalError if it cannot be."""
        ...

    async def eased(self) -> None:
        """Wait until less is unwritten.  Raises JournalError if nothing can be written."""
        ...

    def capped(self) -> None:
        """Say that no more may be spent: the job stops."""
        ...


class Lane(Protocol):
    """One way for requests to go."""

    @property
    def name(self) -> str:
        """Say which it is: "sync", "flex", "batch"."""
        ...

    async def run(self, work: Work) -> None:
        """Do work until there is none, or the job stops.  Raises StanchionError if no item can be done any more.

        Cancel: what is in flight is given up, and nothing of it is recorded.
        """
        ...


class Cap(Protocol):
    """What may be spent."""

    @property
    def waits(self) -> bool:
        """Whether more may be admitted soon, though nothing in flight gives anything back: ask again."""
        ...

    def begin(self, spent_micro_usd: int) -> None:
        """Begin with what was spent before."""
        ...

    def admit(self, item: Item) -> bool:
        """Say whether an item may be tried once more now, and hold what that can cost."""
        ...

    def settle(self, item: Item, answer: Answer | None) -> None:
        """Let go of what a try did not use; None: it was never sent."""
        ...
