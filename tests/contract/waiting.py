"""Waiting for a real server, on whose clock no test has a hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
_TURNS = 2000


async def until(enough: Callable[[T], bool], ask: Callable[[], Awaitable[T]], *, pause_s: float = 0.01) -> T:
    """Ask again and again until it is enough, and return that answer."""
    answer = await ask()
    for _ in range(_TURNS):
        if enough(answer):
            return answer
        await asyncio.sleep(pause_s)
        answer = await ask()
    raise AssertionError(f"never enough: {answer!r}")
