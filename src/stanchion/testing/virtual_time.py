"""An event loop whose clock jumps: when every task waits, it is at once the time of the next timer.

So a test of minutes takes microseconds, and its durations are exact.  The idea is trio's
`MockClock(autojump_threshold=0)`.  Weakness: what runs in threads takes real time and no virtual time.
"""

from __future__ import annotations

import asyncio
import functools
import math
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")
_THREAD_MOST_S = 1.0  # real seconds to wait for a thread or a socket before it is called a deadlock


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`asyncio.Runner(loop_factory=VirtualTimeLoop)`: time starts at 0.0 and jumps from timer to timer."""

    def __init__(self) -> None:
        self._selector_of_time = _Selector(self)
        super().__init__(self._selector_of_time)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._selector_of_time.now

    def next_timer_at(self) -> float | None:
        """Say when the next timer is due."""
        scheduled: list[Any] = getattr(self, "_scheduled")  # noqa: B009 - asyncio keeps it private
        return scheduled[0].when() if scheduled else None


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: what would be a wait becomes a jump."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now; if nothing is, let the time of the next timer come."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        due_at = self._loop.next_timer_at()
        if due_at is not None and due_at < math.inf:
            self.now = max(self.now, due_at)
            return ready
        ready = super().select(_THREAD_MOST_S)
        if not ready:
            raise RuntimeError("deadlock: every task waits, and no timer is set that could wake one")
        return ready


def virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test function on a VirtualTimeLoop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(_coroutine(test(*args, **kwargs)))

    return run


def _coroutine(awaitable: Awaitable[None]) -> Coroutine[Any, Any, None]:
    async def wait() -> None:
        await awaitable

    return wait()
