"""What one lane of a running job is to do, and where what it ends goes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Literal, Protocol

from stanchion.batch.answers import Answer
from stanchion.batch.lanes.lane import Item

AHEAD = 512  # items at hand; beyond it nothing more is read
Why = Literal["interrupted", "cost_cap"]


class Running(Protocol):
    """The run, as far as a lane's work knows it."""

    stopped: Why | Literal[""]
    stop_asked: asyncio.Event
    loop: asyncio.AbstractEventLoop

    def stop(self, why: Why) -> None: ...
    def read_more(self) -> None: ...
    def done(self, item: Item, answer: Answer) -> None: ...
    def left(self, item: Item) -> None: ...
    async def recorded(self) -> None: ...
    async def eased(self) -> None: ...
    @property
    def crowded(self) -> bool: ...
    @property
    def unwritten(self) -> int: ...


class LaneWork:
    """What one lane is to do: a `Work`."""

    def __init__(
        self, run: Running, following: LaneWork | None, name: str, *, comes_back: bool = False
    ) -> None:
        """`following` takes what is given back.  `comes_back`: answers of this lane may be asked for again here."""
        self.name = name
        self._run = run
        self._following = following
        self.items: deque[Item] = deque()
        self.open = 0  # items taken and not ended
        self.fed = False  # nothing more will come from before
        self._comes_back = comes_back
        self._changed: asyncio.Future[None] | None = None

    @property
    def stopping(self) -> bool:
        return self._run.stopped != ""

    async def until_stopped(self) -> None:
        await self._run.stop_asked.wait()

    async def take(self, most: int) -> Sequence[Item]:
        while not self.items and not self._no_more and not self.stopping:
            self._run.read_more()
            self._changed = self._run.loop.create_future()
            await self._changed  # a page is read, a lane gives back, all ends, or the job is stopped
        if self.stopping:
            return ()
        items = self.items
        taken = [items.popleft() for _ in range(min(most, len(items)))]
        self.open += len(taken)
        if len(items) < AHEAD:
            self._run.read_more()
        return taken

    def done(self, item: Item, answer: Answer) -> None:
        self._ended()
        self._run.done(item, answer)

    def back(self, item: Item) -> None:
        self._ended()
        if self._following is None:
            self._run.left(item)
        else:
            self._following.give(item)

    @property
    def _no_more(self) -> bool:
        return self.fed and not (self._comes_back and self.open)

    def _ended(self) -> None:
        self.open -= 1
        if not self.open and self.fed:
            self._run.loop.call_soon(self.look)

    async def recorded(self) -> None:
        await self._run.recorded()

    async def eased(self) -> None:
        await self._run.eased()

    @property
    def unwritten(self) -> int:
        return self._run.unwritten

    @property
    def crowded(self) -> bool:
        return self._run.crowded

    def capped(self) -> None:
        self._run.stop("cost_cap")

    def give(self, *items: Item) -> None:
        self.items.extend(items)
        self.look()

    def end(self) -> None:
        """Let the lane know that nothing more will come."""
        self.fed = True
        self.look()

    def look(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)
