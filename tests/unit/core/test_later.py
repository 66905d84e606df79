"""What need not be done at once is done a moment later, in order, and never lost."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from stanchion.core.clock import Clock
from stanchion.core.later import Later
from stanchion.testing import virtual_time


@virtual_time
async def test_jobs_are_done_together_a_moment_later_and_in_order() -> None:
    done = list[int]()
    later = Later(Clock())
    for number in range(3):
        later(partial(done.append, number))
    assert done == []
    await asyncio.sleep(0.01)
    assert done == [0, 1, 2]
    later(partial(done.append, 3))
    await asyncio.sleep(0.01)
    assert done == [0, 1, 2, 3]


@virtual_time
async def test_what_waits_can_be_done_now_and_is_done_once() -> None:
    done = list[int]()
    later = Later(Clock())
    later(partial(done.append, 1))
    later.do()
    later.do()
    assert done == [1]
    await asyncio.sleep(1.0)
    assert done == [1]


@virtual_time
async def test_many_jobs_do_not_wait_for_the_moment() -> None:
    done = list[int]()
    later = Later(Clock())
    for number in range(250):
        later(partial(done.append, number))
    assert done == list(range(200))


@virtual_time
async def test_a_job_that_fails_loses_no_other(caplog: pytest.LogCaptureFixture) -> None:
    done = list[int]()

    def fail() -> None:
        raise ValueError

    later = Later(Clock())
    later(partial(done.append, 1))
    later(fail)
    later(partial(done.append, 2))
    later.do()
    assert done == [1, 2]
    assert "later.job_failed" in caplog.text
