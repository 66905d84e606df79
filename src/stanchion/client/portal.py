"""A thread with an event loop, in which blocking code runs the async client."""

from __future__ import annotations

import importlib.util
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from typing import ParamSpec, TypeVar, cast

import anyio
from anyio.from_thread import BlockingPortal

from stanchion.core.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")
_left_behind = list[object]()  # of a parent process: kept for ever, since it uses their sockets
_portals: weakref.WeakSet[Portal]


class Portal:
    """One thread and its loop: started at the first call, and again after a fork."""

    def __init__(self, forked: Callable[[], object]) -> None:
        """`forked` is called in the child of a fork and returns what must be kept from being closed there."""
        self._forked = forked
        self._lock = threading.Lock()
        self._open: _Open | None = None
        _portals.add(self)

    def run(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function in the portal's loop.  KeyboardInterrupt and the like cancel it there."""
        return self._wait(lambda: function(*args, **kwargs))

    def run_sync(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a plain function in the portal's loop, where it finds the running loop."""
        return self._wait(lambda: function(*args, **kwargs))

    def finish(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run a function that ends something, where that is still needed and whoever asks.

        The collector of garbage may ask in the loop's own thread, which cannot wait for itself.
        """
        found = self._open
        if found is None:
            return  # the loop has ended, and all with it
        if threading.get_ident() == found.thread:
            threading.Thread(target=self.run, args=(function,), daemon=True).start()
        else:
            self.run(function)

    def _wait(self, function: Callable[[], Awaitable[T]] | Callable[[], T]) -> T:
        future = cast("Future[T]", self._opened().portal.start_task_soon(function))
        try:
            return future.result()  # bounded by the call's deadline
        except CancelledError:
            raise Unavailable("the client was closed while the call ran") from None
        except BaseException:
            future.cancel()
            raise

    def _opened(self) -> _Open:
        found = self._open
        if found is None:
            with self._lock:
                found = self._open = self._open or _Open()
        return found

    def close(self) -> None:
        """End the loop, and all that runs in it.  A later call starts another."""
        with self._lock:
            found, self._open = self._open, None
        if found is not None:
            found.close()

    def fork(self) -> None:
        """In the child of a fork: the thread is gone; leave everything of it alone."""
        self._lock = threading.Lock()
        _left_behind.append(self._forked())
        if self._open is not None:
            _left_behind.append(self._open)
            self._open.forget()
            self._open = None


class _Open:
    """A portal that runs.  Ends when it is closed, forgotten by its client, or at the process's exit."""

    def __init__(self) -> None:
        # not anyio's `start_blocking_portal`: its generator would end the parent's portal in a forked child
        opened: Future[BlockingPortal] = Future()
        thread = threading.Thread(target=_live, args=(opened,), name="stanchion-client", daemon=True)
        thread.start()
        self.portal = portal = opened.result()
        self.thread = thread.ident
        # the process's exit waits for no daemon thread, so it is ended there by name
        self.close = weakref.finalize(self, _end, portal, thread)

    def forget(self) -> None:
        """Never close it: it is the parent's."""
        self.close.detach()


def _live(opened: Future[BlockingPortal]) -> None:
    async def live() -> None:
        async with BlockingPortal() as portal:
            opened.set_result(portal)
            await portal.sleep_until_stopped()

    uvloop = importlib.util.find_spec("uvloop") is not None
    try:
        anyio.run(live, backend_options={"use_uvloop": uvloop})
    except BaseException as error:  # a task boundary: whoever waits for the portal is told
        if opened.done():
            raise
        opened.set_exception(error)


def _end(portal: BlockingPortal, thread: threading.Thread) -> None:
    def end() -> None:
        portal.call(portal.stop, True)  # noqa: FBT003 - cancels what runs; anyio takes it by position
        thread.join()

    if threading.current_thread() is thread:  # collected inside the loop: it cannot wait for itself
        threading.Thread(target=end, daemon=True).start()
    else:
        end()


def _after_fork() -> None:
    for each in list(_portals):
        each.fork()


_portals = weakref.WeakSet()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
