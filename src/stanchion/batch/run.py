"""One run of a job: rows in, what is missing to the lanes, answers into the journal, the output at the end.

A run that was stopped, or killed, is taken up by another of the same job: it reads the input again and asks what
the journal lacks.  Nothing but the journal outlives a run, and the output is made from it alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from typing import Literal, cast

import msgspec

from stanchion.batch.answers import Answer
from stanchion.batch.job import Ended, Facts, Job
from stanchion.batch.kept import record_of
from stanchion.batch.lane_work import AHEAD, LaneWork, Why
from stanchion.batch.lanes.lane import Item, Lane
from stanchion.batch.outputs import write_outputs
from stanchion.batch.rows import BadRow, Page, Row
from stanchion.core.usage import Usage
from stanchion.rules.row_key import RowKey
from stanchion.stores.journal.journal import Journal
from stanchion.stores.journal.many_keys import KeySet
from stanchion.stores.journal.records import Kind, Record


class Run:
    """Mutable.  Make it on the loop, `await run()` once; `stop` ends it early."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.facts = Facts()
        self.stopped: Why | Literal[""] = ""
        self.stop_asked = asyncio.Event()
        self.undone: list[bytes] = []
        self.loop = asyncio.get_running_loop()
        self._works: list[LaneWork] = []  # of the lanes, once they begin
        self._begun = 0  # records of the journal that are older than this run
        self._key = RowKey(job.form.settled)
        self._open = KeySet(job.journal)  # keys that were handed on and did not end
        self._hungry = asyncio.Event()

    def stop(self, why: Why = "interrupted") -> None:
        """Begin nothing more.  What is in flight is finished and recorded, within the job's `finish_s`."""
        if not self.stopped:
            self.stopped = why
            self.stop_asked.set()
            for work in self._works:
                work.look()
            self._hungry.set()

    async def run(self) -> Ended:
        """Do the job.  Raises StanchionError, OSError.  Cancel: what is in flight is given up; all else is kept."""
        job, facts = self.job, self.facts
        facts.began_at = self.loop.time()
        facts.expected = await asyncio.to_thread(job.source.size)
        self._works = _works(self, job.lanes)
        self.journal = await asyncio.to_thread(
            Journal.open,
            job.journal,
            expected=facts.expected,
            retry_failed=job.retry_failed,
            durable=job.durable,
        )
        try:
            self._begun = self.journal.count
            self._open = KeySet(job.journal, max(0, facts.expected - self._begun))
            facts.spent_before_micro_usd = facts.spent_micro_usd = self.journal.counts.spent_micro_usd
            if job.cap is not None:
                job.cap.begin(facts.spent_micro_usd)
            await self._ask()
            await self.journal.sync()
            return await self._end()
        finally:
            self._open.close()
            await self.journal.aclose()

    async def _ask(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read())
                await self._lanes(group)
                reading.cancel()  # it has ended, unless the job was stopped
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors

    async def _lanes(self, group: asyncio.TaskGroup) -> None:
        tasks = [
            group.create_task(lane.run(work)) for lane, work in zip(self.job.lanes, self._works, strict=True)
        ]
        for number, task in enumerate(tasks):
            await asyncio.wait([task])  # as long as the lane works; its calls are bounded
            if not task.cancelled() and task.exception() is not None:
                return  # the group raises it
            if number + 1 < len(tasks):
                self._works[number + 1].end()

    async def _end(self) -> Ended:
        facts = self.facts
        if self.stopped or self.undone:
            facts.stage = "ended"
            return Ended(facts, self.stopped, undone=len(self.undone))
        if not self.job.writes:
            facts.stage = "ended"
            return Ended(facts)
        facts.stage = "writing"
        done = await asyncio.to_thread(write_outputs, self.job, self._key, self.journal)
        facts.stage = "ended"
        return Ended(facts, rows=done.rows, rows_failed=done.failed)

    async def _read(self) -> None:
        """Hand what is missing to the first lane, as it takes it."""
        pages = self.job.source.pages()
        first = self._works[0]
        limit = self.job.limit
        while not self.stopped and not (limit and self.facts.read >= limit):
            page = await asyncio.to_thread(_next, pages)
            if page is None:
                self.facts.all_read = True
                break
            first.give(*self._missing(page))
            if len(first.items) > AHEAD:
                self._hungry.clear()
                await self._hungry.wait()  # until the lane takes, or the job is stopped
        if not self.stopped:
            self.facts.expected, self.facts.stage = self.facts.read, "asking"
            first.end()

    def _missing(self, page: Page) -> list[Item]:
        """Return what of a page must be asked."""
        found, facts, form = list[Item](), self.facts, self.job.form
        content, key_of, number_of = form.content, self._key, self.journal.number_of
        most, bad = self.job.limit or math.inf, page.bad
        read, wrong, before, twins, begun = facts.read, 0, 0, 0, self._begun
        for number, line in enumerate(
            page.lines, page.first
        ):  # nearly all of a job that is taken up ends early here
            if not line and number not in bad:
                continue
            if read >= most:
                break
            read += 1
            try:
                key = key_of(content(line))
                place = number_of(key)
                if place >= 0:
                    before += place < begun
                    twins += place >= begun
                elif number in bad:
                    wrong += 1
                elif key in self._open or self.journal.waits(key):
                    twins += 1
                else:
                    found.append(Item(key, number, form.request(Row(number, line))))
                    self._open.add(key)
            except BadRow:
                wrong += 1  # said where the output is written
        facts.read, facts.bad, facts.before = read, facts.bad + wrong, facts.before + before
        facts.twins += twins
        facts.asked += len(found)
        return found

    def read_more(self) -> None:
        """Let the reader go on."""
        self._hungry.set()

    def left(self, item: Item) -> None:
        """Note that no lane could do an item: another run is to.  What its tries cost is kept."""
        if item.cost_micro_usd:
            self.journal.put(Record(item.key, Kind.NOTE, cost_micro_usd=item.cost_micro_usd))
            self.facts.spent_micro_usd += item.cost_micro_usd
        self.undone.append(item.key)
        self._open.discard(item.key)

    @property
    def unwritten(self) -> int:
        """Count the answers that the end of this process would lose."""
        return self.journal.unwritten

    @property
    def crowded(self) -> bool:
        """Whether more waits to be written than should."""
        return self.journal.crowded

    async def recorded(self) -> None:
        """Wait until all answers so far are written."""
        await self.journal.recorded()

    async def eased(self) -> None:
        """Wait until fewer answers are unwritten."""
        await self.journal.eased()

    def done(self, item: Item, answer: Answer) -> None:
        """Take an answer: it is asked for once more where it does not fit the schema, else it is recorded."""
        check, last = self.job.check, self._works[-1]
        if item.repairs or item.cost_micro_usd:
            usage = answer.usage if item.usage is None else item.usage + (answer.usage or Usage())
            answer = msgspec.structs.replace(
                answer, usage=usage, cost_micro_usd=answer.cost_micro_usd + item.cost_micro_usd
            )
        fault = None
        if check is not None and answer.problem is None:
            fault = check.fault(answer.body)
        if check is None or fault is None:
            self.record(item, answer)
        elif fault.mendable and item.repairs < check.repairs and last.name == "sync" and not self.stopped:
            item.request = check.repaired(item.request, answer.body, fault)
            item.repairs += 1
            item.cost_micro_usd, item.usage = answer.cost_micro_usd, answer.usage
            last.give(item)
        else:
            self.record(item, msgspec.structs.replace(answer, problem=fault.problem))

    def record(self, item: Item, answer: Answer) -> None:
        """Write down what came of an item."""
        facts = self.facts
        self.journal.put(record_of(item.key, answer))
        self._open.discard(item.key)
        if answer.problem is None:
            facts.answered += 1
        else:
            facts.failed += 1
        facts.spent_micro_usd += answer.cost_micro_usd
        if answer.usage is not None:
            facts.prompt_tokens += answer.usage.prompt_tokens
            facts.completion_tokens += answer.usage.completion_tokens


def _works(run: Run, lanes: Sequence[Lane]) -> list[LaneWork]:
    works: list[LaneWork] = []
    following: LaneWork | None = None
    for lane in reversed(lanes):
        following = LaneWork(
            run, following, lane.name, comes_back=lane.name == "sync" and run.job.check is not None
        )
        works.append(following)
    return works[::-1]


def _first(errors: BaseException) -> BaseException:
    """Return what went wrong first: many calls may say the same."""
    while isinstance(errors, BaseExceptionGroup):
        errors = cast("BaseExceptionGroup[BaseException]", errors).exceptions[0]
    return errors


def _next(pages: Iterator[Page]) -> Page | None:
    return next(pages, None)
