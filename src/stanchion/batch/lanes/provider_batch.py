"""The batch lane: requests go to the provider's Batch API, at half the price, and come back within a day.

All rows are written to the disk as parts at once; each part then has a life of its own (`part_run.py`).  Of a part
that has ended every answer counts, also of one that expired or was cancelled.  What was not answered goes back to the
next lane, or into another batch where the deadline leaves the time for that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Container, Coroutine
from contextlib import aclosing, closing
from pathlib import Path

from stanchion.batch.lanes.lane import Cap, Item, Work
from stanchion.batch.lanes.older import OlderRows
from stanchion.batch.lanes.part_answers import PartAnswers, Told
from stanchion.batch.lanes.part_intake import Intake, divide
from stanchion.batch.lanes.part_run import BatchLaneOptions, GivenUp, PartRun
from stanchion.batch.lanes.parts import Part, PartFolder, PartWriter, new_part, with_model
from stanchion.batch.lanes.places import Places
from stanchion.batch.lanes.room import is_full
from stanchion.engine.batch_place import BatchPlace
from stanchion.engine.engine import Engine
from stanchion.observe.logs import log_event
from stanchion.wire.batch import BatchObject

log = logging.getLogger(__name__)
_TAKEN = 1000  # items taken at once
_SOON_S = 0.1  # seconds between two looks at a cap that waits
_UPLOADS = 2  # at once
_MENDED_MOST = 20  # times a part is made anew: halved, or without lines the provider does not take


class BatchLane:
    """A `Lane` over the Batch API of the providers that have one."""

    name = "batch"

    def __init__(
        self,
        engine: Engine,
        journal: Path,
        options: BatchLaneOptions | None = None,
        *,
        cap: Cap | None = None,
    ) -> None:
        """`journal` is the job's folder: the parts are kept in it."""
        self._engine = engine
        self._folder = PartFolder(journal)
        self._options = options or BatchLaneOptions()
        self._cap = cap
        self._places = Places(engine)
        self._intake = Intake(self._folder, self._places.of, self._places.tokens_most)
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen: dict[str, BatchObject] = {}  # the batches that run, as they were when last looked at

    async def run(self, work: Work) -> None:
        """Do work until there is none.  A job that stops leaves its batches running: the next run finds them."""
        self._work = work
        self._uploads = asyncio.Semaphore(_UPLOADS)
        self._ended = asyncio.Event()
        self._reading = asyncio.Semaphore(1)  # a part's rows take 12 MB while its answers are read
        parts = await asyncio.to_thread(self._folder.load, unsent=not self._options.older_only)
        with closing(OlderRows(self._folder.folder, sum(part.rows for part in parts))) as older:
            for part in parts:
                await asyncio.to_thread(older.add, self._folder, part)
            await self._run(parts, older)

    async def _run(self, parts: list[Part], older: OlderRows) -> None:
        work = self._work
        async with asyncio.TaskGroup() as group:
            self._group = group
            watch = group.create_task(self._watch())
            try:
                await self._take_all(older)
                if not work.stopping:
                    for part in parts:
                        self._spawn(self._live(part, older.of(part)))
                    self._intake.flush()
                    self._close_full()
                while self._tasks:
                    await asyncio.wait(set(self._tasks))  # each part's life is bounded
            finally:
                watch.cancel()
                self._intake.drop()

    async def _watch(self) -> None:
        """Let go of the parts when the job is to stop: what was sent is found again."""
        await self._work.until_stopped()
        for task in tuple(self._tasks):
            task.cancel()

    # --- in -------------------------------------------------------------------------------------------

    async def _take_all(self, older: OlderRows) -> None:
        while items := await self._work.take(_TAKEN):
            for item in items:
                if older.take(item.key):
                    if self._cap is not None:
                        self._cap.admit(item)  # it was sent already: held where there is room for it
                elif self._options.older_only:
                    self._work.back(item)
                elif not await self._admit(item):
                    return
                elif self._is_late() or not self._intake.put(item):
                    self._back(item)
            await asyncio.to_thread(self._intake.write)
            self._close_full()

    async def _admit(self, item: Item) -> bool:
        """Hold the money for a row; False if there is none left, and none comes back."""
        while self._cap is not None and not self._cap.admit(item):
            self._intake.flush()
            self._close_full()
            if self._cap.waits and not self._work.stopping:
                await asyncio.sleep(_SOON_S)
                continue
            if not self._tasks:
                self._work.back(item)
                self._work.capped()
                return False
            self._ended.clear()
            await self._ended.wait()  # the end of a part, whose life is bounded
        return not self._work.stopping

    def _close_full(self) -> None:
        full, self._intake.full = self._intake.full, []
        for writer in full:
            self._spawn(self._live_new(writer))

    def _spawn(self, job: Coroutine[object, object, None]) -> None:
        task = self._group.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended.set()

    def _back(self, item: Item) -> None:
        if self._cap is not None:
            self._cap.settle(item, None)
        self._work.back(item)

    # --- the life of a part ---------------------------------------------------------------------------

    async def _live_new(self, writer: PartWriter) -> None:
        await asyncio.to_thread(writer.close)
        await self._live(writer.part, None)

    async def _live(self, part: Part, wanted: Container[bytes] | None) -> None:
        """Do a part; `wanted` are the rows of it that the job still asks for, None is all."""
        place = self._places.again(part)
        if place is None:
            log_event(log, logging.WARNING, "batch.given_up", part=part.id, why="no Batch API any more")
            await self._end(part, None, None, wanted)
            return
        run = PartRun(self._folder, part, place, self._places.api(part, place), self._options, self.seen)
        try:
            batch = await self._ask(part, place, run)
            if batch.status == "failed" and await self._divide(part, place, batch, wanted):
                return
            await self._end(part, run, batch, wanted)
        except GivenUp as error:
            log_event(log, logging.WARNING, "batch.given_up", part=part.id, why=str(error))
            await self._end(part, None, None, wanted)
        finally:
            self.seen.pop(part.id, None)

    async def _ask(self, part: Part, place: BatchPlace, run: PartRun) -> BatchObject:
        """Send a part and wait until its batch has ended.  Raises GivenUp."""
        room, failed = self._places.room(place, run.api), 0
        while True:
            if part.stage == "created":
                room.used += part.tokens  # it is there already
            else:
                await run.enter(room)
            try:
                await run.send(self._uploads)
                batch = await run.ended()
            finally:
                room.leave(part.tokens)
            if batch.status != "failed" or not is_full(batch.faults):
                return batch
            room.learn(batch.faults, part.tokens)
            if part.tokens > room.most and part.rows > 1 and part.mended < _MENDED_MOST:
                return batch
            failed += 1
            await run.again(failed)

    async def _divide(
        self, part: Part, place: BatchPlace, batch: BatchObject, wanted: Container[bytes] | None
    ) -> bool:
        """Make a part anew that the provider did not take: in halves, or without the lines it names."""
        lines = frozenset(each.line for each in batch.faults if each.line)
        full = is_full(batch.faults)
        if part.mended >= _MENDED_MOST or not (full or lines):
            return False
        if lines and not full:
            log_event(log, logging.WARNING, "batch.lines_refused", part=part.id, lines=len(lines))
            await self._give_back(part, lines, wanted)
        without = frozenset[int]() if full else lines
        made = await asyncio.to_thread(
            lambda: divide(self._folder, part, place.url(part.asks), without=without)
        )
        for writer in made:
            await asyncio.to_thread(writer.close)
        await asyncio.to_thread(self._folder.remove, part)
        for writer in made:
            self._spawn(self._live(writer.part, wanted))
        return True

    async def _give_back(self, part: Part, lines: frozenset[int], wanted: Container[bytes] | None) -> None:
        """Let the next lane ask the rows of these lines, which are not in the parts that are made anew."""
        places = await asyncio.to_thread(self._folder.places, part)
        gone = {
            key: place
            for number, (key, place) in enumerate(places.items(), 1)
            if number in lines and (wanted is None or key in wanted)
        }
        for item in await asyncio.to_thread(lambda: list(self._folder.items(part, gone))):
            self._back(item)

    async def _end(
        self, part: Part, run: PartRun | None, batch: BatchObject | None, wanted: Container[bytes] | None
    ) -> None:
        """Take what came of a part's rows; without a batch nothing did.  Raises GivenUp: it cannot be downloaded."""
        files: list[Path] = []
        if run is not None and batch is not None:
            out, err = self._folder.path(part, "out"), self._folder.path(part, "err")
            if await run.fetch(batch.output_file_id, out):
                files.append(out)
            if await run.fetch(batch.error_file_id, err):
                files.append(err)
        async with self._reading:
            again = await self._read(part, batch, files, wanted)
        await self._leave(part, run, batch, again)

    async def _read(
        self, part: Part, batch: BatchObject | None, files: list[Path], wanted: Container[bytes] | None
    ) -> PartWriter | None:
        """Tell what the files say of each row; return where those are that go into another batch."""
        answers = PartAnswers(self._folder, part, self._places.again(part))
        await answers.begin(wanted)
        again = self._again(part) if batch is not None else None
        async with aclosing(answers.read(files)) as pages:
            async for page in pages:
                self._tell(page, again, part)
                if self._work.crowded:
                    await self._work.recorded()
                if again is not None:
                    await asyncio.to_thread(again.flush)
        await self._work.recorded()
        return again

    def _tell(self, page: list[Told], again: PartWriter | None, part: Part) -> None:
        place, took_s = self._places.again(part), time.time() - part.created_at
        for item, answer in page:
            if answer is not None:
                if place is not None and answer.answered:
                    place.book(item.request.operation, part.asked, answer.usage, took_s)
                if self._cap is not None:
                    self._cap.settle(item, answer)
                self._work.done(item, answer)
            elif again is not None:
                again.add(item.key, item.number, with_model(item.request.body, again.model))
            else:
                self._back(item)

    async def _leave(
        self, part: Part, run: PartRun | None, batch: BatchObject | None, again: PartWriter | None
    ) -> None:
        """Let go of a part: everything of it is recorded, or written anew."""
        if again is not None and again.part.rows:
            await asyncio.to_thread(again.close)
        elif again is not None:
            await asyncio.to_thread(again.drop)
            again = None
        await asyncio.to_thread(self._folder.remove, part)
        self._ended.set()
        if again is not None:
            self._spawn(self._live(again.part, None))
        if run is not None and batch is not None:
            await run.tidy(batch)

    def _again(self, part: Part) -> PartWriter | None:
        """Return where rows go that were not answered: into another batch, where there is time for one."""
        options, place = self._options, self._places.again(part)
        left_s = options.deadline_at - options.rescue_s - time.time()
        if place is None or options.older_only or part.tries >= options.tries or left_s < options.window_s:
            return None
        again = new_part(part.place, part.asks, part.asked, tries=part.tries + 1, replaces=part.id)
        return PartWriter(self._folder, again, place.url(part.asks))

    def _is_late(self) -> bool:
        options = self._options
        return options.deadline_at > 0 and time.time() >= options.deadline_at - options.rescue_s
