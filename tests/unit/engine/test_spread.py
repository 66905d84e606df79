"""Many calls over one engine: how wide, in which order again, and when it gives up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest

from stanchion.core.call import Call
from stanchion.core.clock import Clock
from stanchion.core.errors import InvalidCall, Refused, StanchionError, Unavailable
from stanchion.core.reply import Reply
from stanchion.engine.spread import Spread
from stanchion.engine.spread_outcome import Outcome, SpreadOptions
from stanchion.observe.metrics import Metrics
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, virtual_time
from tests.unit.policies.reading import busy, dead, down, now, unreachable, wrong


class Engine:
    """A provider as a spread asks it."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self.provider = provider
        self.clock = Clock()
        self.metrics = Metrics()

    async def __call__(self, call: Call, /) -> Reply:
        return await self.provider(call)


class Jobs:
    """Numbers as jobs, and what was told of them."""

    def __init__(self, count: int) -> None:
        self.left = list(range(count))
        self.told: list[tuple[int, Outcome | None]] = []
        self.taken = 0

    async def take(self, most: int) -> Sequence[int]:
        taken, self.left = self.left[:most], self.left[most:]
        self.taken += len(taken)
        return taken

    def tell(self, job: int, outcome: Outcome | None) -> None:
        self.told.append((job, outcome))

    @property
    def answered(self) -> list[int]:
        return sorted(job for job, outcome in self.told if outcome is not None and outcome.error is None)

    @property
    def undone(self) -> list[int]:
        return sorted(job for job, outcome in self.told if outcome is None)


def call_of(job: int) -> Call:
    return chat_call(text=f"job {job}")


def spread(provider: ScriptedProvider, jobs: Jobs, **options: Any) -> Spread[int]:
    filled = SpreadOptions(**{"most": 4, "start": 4, **options})
    return Spread(Engine(provider), call_of, jobs.tell, filled, jitter=lambda: 0.5)


@virtual_time
async def test_as_many_are_open_as_may_be_and_all_are_answered() -> None:
    provider, jobs = ScriptedProvider(forever=[1.0, chat_answer("a")]), Jobs(10)
    await spread(provider, jobs).run(jobs.take)
    assert jobs.answered == list(range(10))
    assert now() == 3.0  # 4 + 4 + 2


@virtual_time
async def test_what_failed_for_now_goes_back_in_line_and_holds_no_place() -> None:
    provider = ScriptedProvider(busy(20.0), forever=[1.0, chat_answer("a")])
    jobs = Jobs(9)
    await spread(provider, jobs).run(jobs.take)
    assert jobs.answered == list(range(9))
    assert jobs.told[-1][0] == 0
    assert now() == pytest.approx(21.0, abs=0.01)  # and a moment for a wave
    assert jobs.told[-1][1] is not None
    assert jobs.told[-1][1].attempts == 2


@virtual_time
async def test_a_job_that_fails_too_often_is_told_its_last_error() -> None:
    provider, jobs = ScriptedProvider(down(), down(), down()), Jobs(1)
    await spread(provider, jobs, attempts=3).run(jobs.take)
    ((_, outcome),) = jobs.told
    assert outcome is not None
    assert isinstance(outcome.error, Refused)
    assert outcome.attempts == 3
    assert now() == pytest.approx(0.5 + 1.0, abs=0.01)  # half of 1 s, half of 2 s


@virtual_time
async def test_the_callers_own_fault_is_told_at_once() -> None:
    provider, jobs = ScriptedProvider(wrong(), forever=chat_answers()), Jobs(3)
    await spread(provider, jobs).run(jobs.take)
    assert jobs.answered == [1, 2]
    assert len(provider.calls) == 3


def chat_answers() -> list[bytes]:
    return [chat_answer("a")]


@virtual_time
async def test_where_nobody_can_be_asked_everybody_pauses_and_no_try_is_counted() -> None:
    resting = Unavailable("all rest", retry_after_s=30.0)
    provider, jobs = ScriptedProvider(resting, forever=chat_answers()), Jobs(200)
    await spread(provider, jobs, attempts=1).run(jobs.take)
    assert jobs.answered == list(range(200))
    assert len(provider.calls) == 201, "the others were asked in vain, too"
    assert now() == 30.0


@virtual_time
async def test_nothing_that_was_not_sent_is_counted_as_a_try() -> None:
    provider, jobs = ScriptedProvider(unreachable(), unreachable(), forever=chat_answers()), Jobs(1)
    await spread(provider, jobs, attempts=1).run(jobs.take)
    assert jobs.answered == [0]


@virtual_time
async def test_it_gives_up_where_nothing_is_answered_for_long() -> None:
    provider = ScriptedProvider(forever=lambda: Unavailable("all rest", retry_after_s=60.0))
    jobs = Jobs(50)
    with pytest.raises(Unavailable, match=r"nothing was answered for 600 s.*all rest"):
        await spread(provider, jobs, stalled_most_s=600.0).run(jobs.take)
    assert jobs.undone == list(range(jobs.taken))
    assert 600 <= now() <= 720


@virtual_time
async def test_an_account_that_is_dead_ends_it_and_no_job_is_failed() -> None:
    provider = ScriptedProvider(dead(), forever=lambda: Unavailable("all rest", retry_after_s=60.0))
    jobs = Jobs(50)
    with pytest.raises(Refused, match="no money"):
        await spread(provider, jobs).run(jobs.take)
    assert jobs.undone == list(range(jobs.taken))
    assert now() == 0.0


@virtual_time
async def test_halted_it_begins_nothing_and_finishes_what_is_open() -> None:
    provider, jobs = ScriptedProvider(forever=[5.0, chat_answer("a")]), Jobs(100)
    running = spread(provider, jobs)
    async with asyncio.TaskGroup() as group:
        group.create_task(running.run(jobs.take))
        await asyncio.sleep(1)
        running.halt()
    assert jobs.answered == [0, 1, 2, 3]
    assert jobs.undone == list(range(4, jobs.taken))
    assert now() == 5.0


@virtual_time
async def test_halted_it_waits_for_what_is_open_only_so_long() -> None:
    provider, jobs = ScriptedProvider(forever=[math.inf, b""]), Jobs(100)
    running = spread(provider, jobs, finish_s=7.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(running.run(jobs.take))
        await asyncio.sleep(1)
        running.halt()
    assert now() == 8.0
    assert jobs.undone == list(range(jobs.taken))
    assert provider.open == 0


@virtual_time
async def test_no_more_is_taken_than_is_soon_asked() -> None:
    provider, jobs = ScriptedProvider(forever=[1.0, chat_answer("a")]), Jobs(10_000)
    running = spread(provider, jobs)
    async with asyncio.TaskGroup() as group:
        group.create_task(running.run(jobs.take))
        await asyncio.sleep(10.5)
        assert jobs.taken - len(jobs.told) <= 128 + 4 + 2
        running.halt()


class Purse:
    """A gate that lets a few through, and more when it is told to."""

    waits = False

    def __init__(self, left: int) -> None:
        self.left = left
        self.held = 0

    def admit(self, job: int, /) -> bool:
        del job
        if self.left - self.held <= 0:
            return False
        self.held += 1
        return True

    def tried(self, job: int, call: Call, error: StanchionError | None, /) -> None:
        del call, error
        self.held -= 1
        self.left -= job % 2  # an even one costs nothing after all


@virtual_time
async def test_a_gate_holds_jobs_back_and_ends_the_run_where_nothing_comes_back() -> None:
    provider, jobs, purse = ScriptedProvider(forever=[1.0, chat_answer("a")]), Jobs(100), Purse(3)
    running = Spread(
        Engine(provider), call_of, jobs.tell, SpreadOptions(most=8, start=8), gate=purse, jitter=lambda: 0.5
    )
    await running.run(jobs.take)
    assert running.shut
    assert jobs.answered == [0, 1, 2, 3, 4, 5]
    assert jobs.undone == list(range(6, jobs.taken))
    assert (purse.left, purse.held) == (0, 0)


@virtual_time
async def test_a_job_that_can_be_no_call_is_told_so() -> None:
    def make(job: int) -> Call:
        if job == 1:
            raise InvalidCall("no model")
        return call_of(job)

    provider, jobs = ScriptedProvider(forever=chat_answers()), Jobs(3)
    await Spread(Engine(provider), make, jobs.tell, SpreadOptions()).run(jobs.take)
    assert jobs.answered == [0, 2]
    assert len(jobs.told) == 3


class Shelf:
    """Where nothing is safe until it is waited for."""

    unwritten = 0
    most = 0

    async def eased(self) -> None:
        await asyncio.sleep(1)
        self.unwritten = 0


@virtual_time
async def test_what_is_not_written_yet_takes_a_place() -> None:
    provider, jobs, shelf = ScriptedProvider(forever=chat_answers()), Jobs(40), Shelf()

    def told(job: int, outcome: Outcome | None) -> None:
        shelf.unwritten += 1
        shelf.most = max(shelf.most, shelf.unwritten)
        jobs.tell(job, outcome)

    options = SpreadOptions(most=4, start=4)
    await Spread(Engine(provider), call_of, told, options, shelf=shelf).run(jobs.take)
    assert jobs.answered == list(range(40))
    assert shelf.most <= 4
