"""Many calls over one engine: as many open at once as it can use, those that failed for now in line again.

N workers take jobs and ask the engine, which holds the quota, retries at once what may be retried and chooses keys.
What comes back as a failure that may pass goes back in line with the time it may be tried again, and holds no
place meanwhile.  N grows as `rules/width.py` says, and who is free begins together with others (`waves.py`).

A call that nobody could be asked for (every endpoint rests) is not the call's failure: everybody pauses until the
engine says it is worth asking again, and the call has not been tried.  It gives up where nothing at all was answered
for `stalled_most_s`, or where the account is dead until a person acts and nobody else is left to be asked.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from time import thread_time
from typing import Generic, TypeVar

from stanchion.core.call import Call
from stanchion.core.errors import StanchionError
from stanchion.engine.spread_outcome import (
    NO_CALL,
    Again,
    Asked,
    Gate,
    Outcome,
    Shelf,
    SpreadOptions,
    Standstill,
    again_in_s,
    may_pass,
    not_tried,
    pause_s,
)
from stanchion.engine.waves import Waves
from stanchion.rules.width import Width

J = TypeVar("J")
Take = Callable[[int], Awaitable[Sequence[J]]]  # at most so many jobs; none: there are no more
_TAKEN, _TICK_S = 128, 0.002  # jobs asked for at once; seconds that an alarm may be early: it rings once
_SOON_S = 0.05  # seconds between two looks at a gate that waits


class Spread(Generic[J]):
    """Asks the engine for many jobs.  Make one for each run."""

    def __init__(
        self,
        engine: Asked,
        make: Callable[[J], Call],
        told: Callable[[J, Outcome | None], None],
        options: SpreadOptions,
        *,
        gate: Gate[J] | None = None,
        shelf: Shelf | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`make` raises StanchionError where a job can be no call.

        `told` is called once a job, in the loop: with None where the run ended before anything came of it.
        With a `shelf`, what is in flight and what is not safe yet are together no more than may be open.
        """
        self._engine = engine
        self._make = make
        self._told = told
        self._options = options
        self._gate = gate
        self._shelf = shelf
        self._jitter = jitter
        self.shut = False  # the gate let nothing more through, and nothing was in flight: the run was ended
        self._clock = engine.clock
        self._width = Width(options.start, options.most, thread_time)
        self._waves = Waves(self._clock, self._width)
        self._waits = engine.metrics.line_waiting.of("batch")
        self._ready: deque[Again] = deque()
        self._later: list[tuple[float, int, Again]] = []
        self._number = count()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._hungry: asyncio.Future[None] | None = None
        self._more = True  # the source may have more
        self._halted = self._looks = False  # `_looks`: an alarm is set for a gate that waits
        self._fatal: StanchionError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm = self._workers = self._busy = 0
        self._paused_until = -math.inf
        self._standstill = Standstill(options.stalled_most_s)

    @property
    def open(self) -> int:
        """Count the jobs that are asked now."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Count the jobs that are in line again."""
        return len(self._later)

    @property
    def width(self) -> int:
        """Say how many may be open now."""
        return self._width.now

    async def run(self, take: Take[J]) -> None:
        """Ask for all that `take` gives.  Raises what `take` raises, and Unavailable where nothing is answered any more.

        Cancel: what is in flight is given up at the provider, and nobody is told of it.
        """
        self._standstill.answered(self._clock.now())
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._staff()
            self._feeder = group.create_task(self._feed(take))
        self._clock.take_back(self._alarm)
        for again in (*self._ready, *(each for _, _, each in self._later)):
            self._tell(again)
        if self._fatal is not None:
            raise self._fatal

    def halt(self) -> None:
        """Begin nothing more; what is in flight may finish, for `finish_s`."""
        if self._halted:
            return
        self._halted = True
        self._alarm = self._clock.set(self._clock.now() + self._options.finish_s, self._cut)
        self._feeder.cancel()
        while self._idle:
            self._wake()

    def _cut(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _feed(self, take: Take[J]) -> None:
        """Keep as many jobs at hand as may be taken soon."""
        try:
            while True:
                if len(self._ready) > self._width.now // 2:
                    self._hungry = self._clock.loop.create_future()
                    await self._hungry  # as long as jobs are done; each of them is bounded
                    continue
                jobs = await take(max(_TAKEN, self._width.now))
                if not jobs:
                    break
                self._ready.extend([Again(job) for job in jobs])
                self._wake_some()
        finally:
            self._more = False
            while self._idle:
                self._wake()

    def _staff(self) -> None:
        """Have as many workers as may be open."""
        while self._workers < self._width.now:
            self._workers += 1
            task = self._group.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            shelf = self._shelf
            while self._workers <= self._width.now and not self._halted:
                if shelf is not None and shelf.unwritten + self._busy >= self._width.now:
                    await shelf.eased()
                    continue
                again = self._next()
                if again is None:
                    if not (self._more or self._busy or self._later or self._ready):
                        break
                    await self._rest()
                    continue
                self._busy += 1
                try:
                    await self._ask(again)
                except asyncio.CancelledError:
                    self._tell(again)
                    raise
                finally:
                    self._busy -= 1
                if self._width.look(self._clock.now(), waiting=self._waits.value, busy=self._busy + 1):
                    self._staff()
                await self._waves.join()
        finally:
            self._workers -= 1
            if not self._more:
                while self._idle:  # that was the last one
                    self._wake()

    def _next(self) -> Again | None:
        """Return what is to be asked now; None if there is nothing."""
        now = self._clock.now() + _TICK_S
        if now < self._paused_until:
            return None
        if self._later and self._later[0][0] <= now:
            return heappop(self._later)[2] if self._admits(self._later[0][2].job) else None
        ready = self._ready
        if not ready or len(self._later) > self._width.now:  # those first: they are kept in memory
            return None
        if not self._admits(ready[0].job):
            return None
        again = ready.popleft()
        if len(ready) <= self._width.now // 2:
            self._feed_again()
        return again

    def _admits(self, job: object) -> bool:
        gate = self._gate
        if gate is None or gate.admit(job):  # pyright: ignore[reportArgumentType]
            return True
        if gate.waits:
            if not self._looks:
                self._looks = True
                self._clock.set(self._clock.now() + _SOON_S, self._wake_some)
        elif not self._busy:  # nobody gives anything back any more
            self.shut = True
            self.halt()
        return False

    def _tried(self, job: J, call: Call, error: StanchionError | None) -> None:
        if self._gate is not None:
            self._gate.tried(job, call, error)
            self._wake_some()  # who was not let through may be now

    def _feed_again(self) -> None:
        hungry, self._hungry = self._hungry, None
        if hungry is not None and not hungry.done():
            hungry.set_result(None)

    async def _rest(self) -> None:
        """Wait until there may be something to do."""
        future = self._clock.loop.create_future()
        self._idle.append(future)
        await future  # a worker that ends a job, the feeder, or the alarm of a job that is in line again

    def _wake(self) -> None:
        future = self._idle.popleft()
        if not future.done():
            future.set_result(None)

    def _wake_some(self) -> None:
        """An alarm: as many as could go on."""
        self._looks = False
        for _ in range(min(len(self._idle), len(self._later) + len(self._ready))):
            self._wake()

    async def _ask(self, again: Again) -> None:
        job: J = again.job  # pyright: ignore[reportAssignmentType]
        call = NO_CALL
        try:
            call = self._make(job)
            reply = await self._engine(call)
            if (raw := reply.take_whole()) is None:  # hardly ever
                async with reply:
                    raw = await reply.read_whole()
        except StanchionError as error:
            self._tried(job, call, error)
            self._failed(again, call, error)
        else:
            self._tried(job, call, None)
            self._standstill.answered(self._clock.now())
            self._width.answered()
            self._told(job, Outcome(call, again.attempts + 1, again.trails, raw, reply.head))

    def _failed(self, again: Again, call: Call, error: StanchionError) -> None:
        """Put a job back in line, or tell its end."""
        now = self._clock.now()
        over = self._standstill.failed(error, now)
        if over is not None:
            if over.why is not None:
                self._give_up(over.why)
            self._tell(again)
            return
        if not may_pass(error):
            self._tell(again, Outcome(call, again.attempts + 1, again.trails, error=error))
            return
        if not_tried(error):
            wait_s = pause_s(error)
            self._paused_until = max(self._paused_until, now + wait_s)
        else:
            again.attempts += 1
            if again.attempts >= self._options.attempts:
                self._tell(again, Outcome(call, again.attempts, again.trails, error=error))
                return
            if call.trail.usage is not None:
                again.trails = (*again.trails, call.trail)
            wait_s = again_in_s(again, error, self._options, self._jitter())
        heappush(self._later, (now + wait_s, next(self._number), again))
        self._clock.set(now + wait_s, self._wake_some)

    def _tell(self, again: Again, outcome: Outcome | None = None) -> None:
        self._told(again.job, outcome)  # pyright: ignore[reportArgumentType]

    def _give_up(self, error: StanchionError) -> None:
        self._fatal = self._fatal or error
        self.halt()
