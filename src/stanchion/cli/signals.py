"""Ctrl-C and SIGTERM, given to whoever runs on the loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Generator

_NAMES = (signal.SIGINT, signal.SIGTERM)


def take_signals(stop: Callable[[], object]) -> None:
    """Call `stop` at each of them from now on.  Windows has no such signals: there Ctrl-C raises."""
    loop = asyncio.get_running_loop()
    for each in _NAMES:
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(each, stop)


@contextlib.contextmanager
def signals_to(stop: Callable[[], object]) -> Generator[None]:
    """Call `stop` at each of them inside the `with`."""
    take_signals(stop)
    try:
        yield
    finally:
        loop = asyncio.get_running_loop()
        for each in _NAMES:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(each)
