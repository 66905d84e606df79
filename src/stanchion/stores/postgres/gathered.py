"""Questions that come at the same time, asked in one statement, and each told its own part of the answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from stanchion.stores.postgres.database import Database
from stanchion.stores.protocols import StoreLost
from stanchion.stores.question import Question

T = TypeVar("T")
A = TypeVar("A")
_UNDER_WAY_MOST = 2  # statements: one is done while the next is on its way
_TOGETHER_MOST = 64


class Gathered(Generic[T, A]):
    """The questions of one kind."""

    def __init__(
        self,
        database: Database,
        statement: str,
        write: Callable[[Sequence[T]], tuple[object, ...]],
        read: Callable[[T, Sequence[float]], tuple[A, int]],
    ) -> None:
        """`write` makes the statement's values; `read` an answer, and tells how many numbers that took."""
        self._database = database
        self._statement = statement
        self._write = write
        self._read = read
        self._waiting: deque[Question[T]] = deque()
        self._under_way = 0

    def ask(self, asked: T, future: asyncio.Future[A], left: Callable[[A], None]) -> None:
        """Ask; `left` is given the answer when the caller was cancelled."""
        self._waiting.append(Question(asked, future, left))
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._under_way < _UNDER_WAY_MOST:
            together = [self._waiting.popleft() for _ in range(min(len(self._waiting), _TOGETHER_MOST))]
            together = [each for each in together if not each.void]
            if not together:
                continue
            self._under_way += 1
            try:
                asked = self._database.start(self._statement, *self._write([each.asked for each in together]))
            except StoreLost as error:
                self._under_way -= 1
                for each in together:
                    each.lost(str(error))
                continue
            asked.add_done_callback(partial(self._answered, together))

    def _answered(self, together: Sequence[Question[T]], asked: asyncio.Future[Any]) -> None:
        self._under_way -= 1
        error = None if asked.cancelled() else asked.exception()
        if asked.cancelled() or error is not None:
            for each in together:
                each.lost(str(error or "postgresql was closed"))
        else:
            rest: list[float] = asked.result()
            for each in together:
                answer, length = self._read(each.asked, rest)
                each.answered(answer)
                rest = rest[length:]
        self._go_on()
