"""A question to a server, asked by a task of the store's while its caller waits for a future.

So a caller that is cancelled tears no connection down and leaves none out of step, and its answer is still
heard: what was taken for it is given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from stanchion.stores.protocols import StoreLost

T = TypeVar("T")


def unheard(answer: Any) -> None:
    """What to do with an answer that nobody waits for any more: nothing."""
    del answer


class Question(Generic[T]):
    """What is asked, the caller's future (None: nobody waits), and what to do if the caller is gone."""

    __slots__ = ("asked", "future", "left")

    def __init__(self, asked: T, future: asyncio.Future[Any] | None, left: Callable[[Any], None]) -> None:
        self.asked = asked
        self.future = future
        self.left = left

    @property
    def void(self) -> bool:
        """Its caller left before it was asked: it need not be."""
        return self.future is not None and self.future.done()

    def answered(self, answer: Any) -> None:
        if self.future is None or self.future.done():
            self.left(answer)
        else:
            self.future.set_result(answer)

    def lost(self, message: str, error: BaseException | None = None) -> None:
        if self.future is not None and not self.future.done():
            lost = StoreLost(message)
            lost.__cause__ = error
            self.future.set_exception(lost)


async def heard(future: asyncio.Future[Any], left: Callable[[Any], None]) -> Any:
    """Wait for the answer; `left` is given it if the caller is cancelled when it is there and not yet read."""
    try:
        return await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled() and future.exception() is None:
            left(future.result())
        raise
