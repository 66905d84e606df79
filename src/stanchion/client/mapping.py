"""`client.map`: one call for each of many rows, as many at once as the engine can use, results as they come.

Rows are read as results are taken: between the two there are never more than a window of them.  A row that fails
for good is a result with an error, and the rest goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar, cast

import msgspec

from stanchion.client.answers import Facts
from stanchion.client.cost import Prices
from stanchion.client.mapped import Kept, Mapped, made
from stanchion.core.call import Body, Call, Operation, json_call
from stanchion.core.errors import StanchionError
from stanchion.engine.engine import Engine
from stanchion.engine.spread import Spread
from stanchion.engine.spread_outcome import Outcome, SpreadOptions
from stanchion.policies.deadline import DeadlineOptions

R = TypeVar("R")
Order = Literal["input", "completion"]
Rows = Iterable[R] | AsyncIterable[R]
_DAY_S = 86400.0  # seconds a call may wait for its turn and be answered: quotas of a day are waited for
_AHEAD = 4  # windows of calls: so many rows are read and their results not taken
_SHARE = 64  # rows read at once


class MapOptions(msgspec.Struct, frozen=True):
    """What a map is told beside its rows."""

    order: Order = "input"
    concurrency: int = 1000  # calls open at most
    attempts: int = 5  # times a row is given to the engine, which has tries of its own each time
    journal: Path | str | None = None  # a folder in which answers are kept for the next run
    caller: str = ""


class _Job(msgspec.Struct, gc=False):
    """One row on its way."""

    row: Any
    number: int
    body: Body
    key: bytes = b""
    began_at: float = 0.0


class Map(Generic[R]):
    """An async iterator of `Mapped`.  It begins when it is entered or first read.

    Leave it by `async with`, or read it to its end.
    """

    def __init__(
        self,
        engine: Callable[[], Awaitable[Engine]],
        rows: Rows[R],
        ask: Callable[[R], dict[str, Any]],
        prices: Prices,
        options: MapOptions,
    ) -> None:
        """`ask` makes the request's fields of a row; what it raises of StanchionError is that row's error."""
        self._engine = engine
        self._rows = _aiter(rows)
        self._ask = ask
        self._prices = prices
        self._options = options
        self._kept: Kept | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._done: dict[int, Mapped[R]] = {}  # by number, where the order is the input's
        self._ready: deque[Mapped[R]] = deque()
        self._twins: dict[bytes, list[_Job]] = {}
        self._taken = self._given = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[Mapped[R]]:
        return self

    async def __anext__(self) -> Mapped[R]:
        """Return the next result.  Raises what reading the rows raised, and StanchionError if nobody answers any more."""
        if not self._ready and not await self._wait():
            raise StopAsyncIteration
        self._given += 1
        self._room.set()
        return self._ready.popleft()

    async def take(self) -> list[Mapped[R]]:
        """Return all results that are here, at least one; none: there are no more.  Raises as reading one does."""
        if not self._ready and not await self._wait():
            return []
        taken = list(self._ready)
        self._ready.clear()
        self._given += len(taken)
        self._room.set()
        return taken

    async def _wait(self) -> bool:
        """Wait for a result; False if there are no more."""
        await self._begin()
        while not self._ready:
            if self._ended:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                return False
            self._changed.clear()
            await self._changed.wait()  # until a call ends; each of them is bounded
        return True

    async def aclose(self) -> None:
        """End it now: calls in flight are given up; what a journal has stays."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])  # bounded: it only closes the journal
        self._ready.clear()
        self._ended = True

    async def _begin(self) -> None:
        if self._task is None and not self._ended:
            self._task = (engine := await self._engine()).spawn(self._live(engine))

    async def _live(self, engine: Engine) -> None:
        try:
            if self._options.journal is not None:
                self._kept = await Kept.open(Path(self._options.journal), self._prices)
            self._clock = engine.clock
            options = SpreadOptions(most=self._options.concurrency, attempts=self._options.attempts)
            await Spread(engine, self._call, self._told, options, shelf=self._kept).run(self._take)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a task boundary: whoever reads the results is told
            self._error = _first(error)
        finally:
            try:
                if self._kept is not None:
                    await self._kept.aclose()
            finally:
                self._ended = True
                self._changed.set()

    async def _take(self, most: int) -> list[_Job]:
        """Read rows, as results are taken."""
        jobs: list[_Job] = []
        while len(jobs) < min(most, _SHARE):
            while self._taken - self._given >= _AHEAD * self._options.concurrency:
                if jobs:
                    return jobs
                self._room.clear()
                await self._room.wait()  # until a result is taken: as long as the reader likes
            row = await anext(self._rows, _END)
            if row is _END:
                return jobs
            number, self._taken = self._taken, self._taken + 1
            job = self._job(cast("R", row), number)
            if job is not None:
                jobs.append(job)
        return jobs

    def _job(self, row: R, number: int) -> _Job | None:
        """Return what must be asked; None if the result is here already, or comes with a twin's."""
        try:
            body = Body(self._ask(row))
            job = _Job(row, number, body, began_at=self._clock.now())
            if self._kept is None:
                return job
            job.key = key = self._kept.key(body.raw)
            if key in self._twins:
                self._twins[key].append(job)
                return None
            reply = self._kept.find(key)
        except StanchionError as error:
            self._give(Mapped(row, number, error=error))
            return None
        if reply is None:
            self._twins[key] = []
            return job
        self._give(Mapped(row, number, reply))
        return None

    def _call(self, job: _Job) -> Call:
        options: dict[type[Any], Any] = {DeadlineOptions: DeadlineOptions(total_s=_DAY_S)}
        caller = self._options.caller
        return json_call(Operation.CHAT, job.body, priority="batch", caller=caller, options=options)

    def _told(self, job: _Job, outcome: Outcome | None) -> None:
        if outcome is None:  # it was ended before
            return
        twins = (job, *self._twins.pop(job.key, ())) if job.key else (job,)
        reply, error, head = None, outcome.error, outcome.head
        if head is not None:
            trail, now = outcome.call.trail, self._clock.now()
            facts = Facts(head, trail.usage, trail, self._prices, job.began_at, now, now)
            try:
                reply = made(outcome.raw, facts)
            except StanchionError as unusable:
                error = unusable
            else:
                if self._kept is not None:
                    self._kept.put(job.key, reply, head)
        for each in twins:
            self._give(Mapped(each.row, each.number, reply, error))

    def _give(self, result: Mapped[R]) -> None:
        if self._options.order == "completion":
            self._ready.append(result)
        else:
            self._done[result.number] = result
            following = self._given + len(self._ready)
            while (found := self._done.pop(following, None)) is not None:
                self._ready.append(found)
                following += 1
        if self._ready:
            self._changed.set()


_END: Any = object()


async def _each(rows: Iterator[R]) -> AsyncIterator[R]:
    for row in rows:
        yield row


def _aiter(rows: Rows[R]) -> AsyncIterator[R]:
    return aiter(rows) if isinstance(rows, AsyncIterable) else _each(iter(rows))


def _first(error: BaseException) -> BaseException:
    """Return what went wrong first."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def rendering(template: str | Callable[[Any], Any] | None, fields: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return what makes a request's fields of a row.

    A text is a Jinja2 template over a row's columns; a function returns messages, or one of the user's; without
    either a row is that itself.  Raises BadTemplate.
    """
    if isinstance(template, str):
        from stanchion.rules.template import Template  # noqa: PLC0415 - Jinja2 costs who uses it

        messages: Callable[[Any], Any] = Template(template).messages
    else:
        messages = template or _itself

    def ask(row: Any) -> dict[str, Any]:
        said = messages(row)
        return {**fields, "messages": [{"role": "user", "content": said}] if isinstance(said, str) else said}

    return ask


def _itself(row: Any) -> Any:
    return row
