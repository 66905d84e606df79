"""One call to a provider that many read, each at its own pace: what is held, who reads, who is cut off."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from stanchion.core.call import Call
from stanchion.core.chunk import Chunk
from stanchion.core.clock import Clock
from stanchion.core.errors import Cut, DeadlineExceeded, StanchionError, Unavailable
from stanchion.core.reply import Head, Reply
from stanchion.core.service import Service
from stanchion.core.usage import Usage


class CoalesceOptions(msgspec.Struct, frozen=True):
    """Whether calls share a flight, and what one may hold."""

    on: bool = True
    most_bytes: int = 1024 * 1024  # of one flight, that not all have read
    slow_most_s: float = 5.0  # seconds the others wait for one who is behind by more


class Flight:
    """One call to a provider, and what came of it so far."""

    task: asyncio.Task[None]

    def __init__(
        self,
        ways: Mapping[type[Any], Any],
        options: CoalesceOptions,
        clock: Clock,
        *,
        close: Callable[[Flight], None],
        cut: Callable[[], None],
    ) -> None:
        """`close`: nobody joins from now on.  `cut` counts one who was too slow."""
        self.ways = ways
        self.clock = clock
        self.loop = clock.loop
        self.head: Head | None = None  # known with the first chunk; of a whole answer at its end
        self.joined_head: Head | None = None  # the same, as those see it who joined
        self.error: BaseException | None = None
        self.ended = False
        self.usage: Usage | None = None
        self.readers: set[Reader] = set()
        self.waiting: list[asyncio.Future[None]] = []
        self.begun = False
        self.chunks: deque[Chunk] = deque()
        self.base = 0  # the number of the first chunk that is held
        self.count = 0  # chunks that came
        self._options = options
        self._close = close
        self._cut = cut
        self._size = 0  # bytes held
        self.full: asyncio.Future[None] | None = None  # while it is: what waits for somebody to read on

    async def fly(self, call: Call, service: Service) -> None:
        """Read the call's reply to its end."""
        self.begun = True
        try:
            async with await service(call) as reply:
                try:
                    await reply.first()
                    if call.stream:
                        self._set_head(reply.head)
                    async for chunk in reply:
                        self._add(chunk)
                        if self._size > self._options.most_bytes:
                            await self._make_room()
                finally:
                    await reply.aclose()  # usage is settled by it
                    self.usage = reply.usage
                self._set_head(reply.head)
            self._end(None)
        except StanchionError as error:
            self._end(error)
        except asyncio.CancelledError:
            self._end(Unavailable("shutting down"))  # where the last has left nobody hears it
            raise
        except BaseException as error:
            self._end(error)
            raise

    def close(self) -> None:
        """Let nobody join any more."""
        self._close(self)

    def wake(self) -> None:
        """Wake all who wait for more."""
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def moved(self) -> None:
        """Note that a reader read on, or left."""
        if self.full is not None and not self.full.done():
            self.full.set_result(None)

    def _set_head(self, head: Head) -> None:
        if self.head is None:
            self.joined_head = msgspec.structs.replace(head, cache="coalesced")
            self.head = head

    def _add(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.count += 1
        self._size += len(chunk.raw)
        if self.head is not None:
            self.wake()

    def _end(self, error: BaseException | None) -> None:
        self.error, self.ended = error, True
        self.close()
        self.wake()

    async def _make_room(self) -> None:
        """Let go of what all have read; wait for those who are behind, and cut them off if that takes too long."""
        self.close()  # who joined now would miss the beginning
        while True:
            behind = min([reader.position for reader in self.readers], default=self.count)
            while self.base < behind:
                self._size -= len(self.chunks.popleft().raw)
                self.base += 1
            if self._size <= self._options.most_bytes:
                return
            if not await self._somebody_moved():
                for reader in [each for each in self.readers if each.position == behind]:
                    reader.cut_off()
                    self._cut()

    async def _somebody_moved(self) -> bool:
        """Wait until one who is furthest behind read on; False if that took too long and others wait."""
        behind = min([reader.position for reader in self.readers], default=self.count)
        until = self.clock.now() + self._options.slow_most_s
        while min([reader.position for reader in self.readers], default=self.count) == behind:
            self.full = asyncio.get_running_loop().create_future()
            alone = len(self.readers) < 2  # then it is waited for as for any reader: as long as it stays
            try:
                with self.clock.timeout_at(math.inf if alone else until):
                    await self.full
            except TimeoutError:
                return False
            finally:
                self.full = None
        return True


class Reader:
    """One call's place in a flight.  A `Feed`."""

    __slots__ = ("_alarm", "_first", "_flight", "_reply", "_waiter", "error", "position")

    def __init__(self, flight: Flight, deadline: float, *, first: bool) -> None:
        self.position = 0  # the number of the next chunk
        self.error: StanchionError | None = None  # of its own: its time is over, or it is too slow
        self._flight = flight
        self._first = first  # it began the flight: the original error is its, with the traceback
        self._waiter: asyncio.Future[None] | None = None
        self._reply: Reply | None = None
        self._alarm = flight.clock.set(deadline, self._late) if deadline < math.inf else 0
        flight.readers.add(self)

    def reply(self, *, whole: bool) -> Reply:
        """Return the reply, once the flight knows its head.  Raises what it failed with."""
        flight = self._flight
        head = flight.head if self._first else flight.joined_head
        if head is None or self.error is not None:
            raise self._failure()
        if whole and flight.ended and flight.error is None and flight.count == 1:
            self._leave()
            return Reply.whole(head, flight.chunks[0], flight.usage)
        self._reply = Reply.fed(head, self)
        return self._reply

    def take(self) -> Chunk | None:
        """Return the next chunk; None if it is not here.  Raises StopAsyncIteration at the end."""
        if self.error is not None:
            raise self.error
        flight = self._flight
        if self.position < flight.count:
            chunk = flight.chunks[self.position - flight.base]
            self.position += 1
            if flight.full is not None:
                flight.moved()
            return chunk
        if flight.error is not None:
            raise self._failure()
        if flight.ended:
            raise StopAsyncIteration
        return None

    async def __anext__(self) -> Chunk:
        while (chunk := self.take()) is None:
            await self.more()
        return chunk

    def more(self) -> Awaitable[None]:
        """Return what to await before the next `take`."""
        flight = self._flight
        self._waiter = waiter = flight.loop.create_future()
        flight.waiting.append(waiter)
        return waiter

    def cut_off(self) -> None:
        """End it: the others have waited long enough."""
        self._fail(Cut("this reader of a shared stream was too slow for the others", code="reader_too_slow"))

    async def aclose(self) -> None:
        """Leave.  The last one ends the flight, and waits until that is done: then what it used is known."""
        flight = self._flight
        self._leave()
        if not flight.ended and not flight.readers:
            flight.close()
            try:
                if not flight.begun:
                    await asyncio.sleep(0)  # a task that never began would leave its coroutine unawaited
            finally:
                flight.task.cancel()
            await asyncio.wait([flight.task])  # bounded: a cancelled call closes at once
        if self._reply is not None:
            self._reply.usage, self._reply = flight.usage, None

    def _leave(self) -> None:
        flight = self._flight
        flight.readers.discard(self)
        flight.clock.take_back(self._alarm)
        flight.moved()

    def _late(self) -> None:
        self._fail(DeadlineExceeded("the call's deadline passed before the answer was complete"))

    def _fail(self, error: StanchionError) -> None:
        self.error = error
        self._flight.readers.discard(self)
        self._flight.moved()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _failure(self) -> BaseException:
        """Return what it fails with: each reader gets an error of its own."""
        error = self.error or self._flight.error
        assert error is not None  # noqa: S101 - asked only then
        if self._first or not isinstance(error, StanchionError) or error is self.error:
            return error
        own = type(error).__new__(type(error), *error.args)
        vars(own).update(vars(error))
        own.__cause__ = error
        return own
