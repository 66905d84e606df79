"""Sending a stream of events at a pace, by callbacks of the loop: no task per stream.

A stream that falls behind its pace catches up in one write. A client that does not read pauses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from stanchion.simulator.exchange import Exchange
from stanchion.simulator.spoil import DONE, Ending
from stanchion.simulator.timing import Pace

_BATCH_BYTES = 32 * 1024
_TICK_S = 0.001  # gaps below the loop's own precision are sent together


class OnEnd(Protocol):
    """Told once how a stream ended."""

    def __call__(self, *, completed: bool) -> None: ...


class StreamSender:
    """Sends the events of one reply, and the ending a fault gave it."""

    __slots__ = (
        "_due_at",
        "_events",
        "_exchange",
        "_handle",
        "_loop",
        "_on_end",
        "_pace",
        "_paused",
        "_pending",
    )

    def __init__(
        self,
        exchange: Exchange,
        events: Iterator[bytes | Ending],
        pace: Pace,
        *,
        on_end: OnEnd,
    ) -> None:
        self._exchange = exchange
        self._events = events
        self._pace = pace
        self._on_end: OnEnd | None = on_end
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._paused = False
        self._pending = b""
        self._due_at = 0.0

    def start(self, head: bytes, delay_s: float, *, head_first: bool) -> None:
        """Begin; `head_first` sends the headers at once, otherwise they come with the first event."""
        self._exchange.sender = self
        if head_first and delay_s > 0:
            self._exchange.write(head)
        else:
            self._pending = head
        self._due_at = self._loop.time() + delay_s
        if delay_s > 0:
            self._handle = self._loop.call_at(self._due_at, self._step)
        else:
            self._step()

    def pause(self) -> None:
        """Send nothing until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            if self._handle is None:
                self._step()

    def stop(self) -> None:
        """The exchange is over, however it ended."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._report(completed=False)

    def _step(self) -> None:
        self._handle = None
        while not self._paused and not self._exchange.over:
            if self._send_due():
                return
            wait_s = self._due_at - self._loop.time()
            if wait_s > _TICK_S:
                self._handle = self._loop.call_at(self._due_at, self._step)
                return

    def _send_due(self) -> bool:
        """Send all events that are due, at most a batch; true if that was the end."""
        exchange = self._exchange
        parts = [self._pending]
        self._pending = b""
        size = 0
        sent = 0
        ending: Ending | None = None
        soon = self._loop.time() + _TICK_S
        while size < _BATCH_BYTES and self._due_at <= soon:
            event = next(self._events, None)
            if event is None or isinstance(event, Ending):
                ending = event or Ending("clean", size=-1)
                break
            parts.append(exchange.frame(event))
            size += len(event)
            if event is not DONE:
                sent += 1
                self._due_at += self._pace.gap_s()
        record = exchange.record
        if record is not None:
            record.events_sent += sent
            record.bytes_sent += size
        if ending is not None and ending.part:
            promised = None if ending.how == "clean" else ending.size
            parts.append(exchange.frame(ending.part, promised))
        exchange.write(b"".join(parts))
        if ending is not None:
            self._finish(ending)
        return ending is not None

    def _finish(self, ending: Ending) -> None:
        """The stream's end; size -1 marks the natural one."""
        if ending.how is None:
            return  # hold the connection until the client leaves
        self._report(completed=ending.size == -1)
        if ending.how == "clean":
            self._exchange.end_stream()
        else:
            self._exchange.leave(ending.how)

    def _report(self, *, completed: bool) -> None:
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end(completed=completed)


class WholeSender:
    """Waits, then sends a whole reply; the client may leave before."""

    __slots__ = ("_handle",)

    def __init__(self, delay_s: float, send: Callable[[], None]) -> None:
        self._handle = asyncio.get_running_loop().call_later(delay_s, send)

    def pause(self) -> None:
        """A whole reply is one write; nothing to pause."""

    def resume(self) -> None:
        """See `pause`."""

    def stop(self) -> None:
        """The exchange is over."""
        self._handle.cancel()
