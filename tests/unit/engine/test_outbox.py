"""The outbox: bounded, and one bad item stops no other."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from stanchion.engine.outbox import Outbox
from stanchion.observe.metrics import Metrics
from stanchion.testing import virtual_time


@asynccontextmanager
async def running(**options):
    metrics = Metrics()
    outbox = Outbox(metrics, **options)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(outbox.run())
        yield outbox, metrics
        task.cancel()


def taking(seconds: float, done: list[float]):
    async def item() -> None:
        await asyncio.sleep(seconds)
        done.append(asyncio.get_running_loop().time())

    return item


@virtual_time
async def test_items_are_done_one_after_the_other() -> None:
    done: list[float] = []
    async with running() as (outbox, _):
        assert [outbox.put(taking(1.0, done)) for _ in range(3)] == [True] * 3
        assert await outbox.drain(60.0) is True
    assert done == [1.0, 2.0, 3.0]


@virtual_time
async def test_an_item_that_fails_is_logged_and_the_next_is_done(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise OSError("the store is away")

    done: list[float] = []
    async with running() as (outbox, _):
        with caplog.at_level(logging.ERROR):
            outbox.put(broken)
            outbox.put(taking(1.0, done))
            assert await outbox.drain(60.0) is True
    assert (done, caplog.messages) == ([1.0], ["outbox.item_failed"])


@virtual_time
async def test_a_full_outbox_drops_counts_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    metrics, done = Metrics(), list[float]()
    outbox = Outbox(metrics, most=2)
    with caplog.at_level(logging.ERROR):
        assert [outbox.put(taking(0.0, done)) for _ in range(4)] == [True, True, False, False]
    assert metrics.outbox_dropped.of().value == 2
    assert caplog.messages == ["outbox.dropped"] * 2


@virtual_time
async def test_what_takes_too_long_at_the_end_is_given_up_at_the_moment() -> None:
    done: list[float] = []
    async with running() as (outbox, _):
        outbox.put(taking(60.0, done))
        assert await outbox.drain(5.0) is False
        assert asyncio.get_running_loop().time() == 5.0
    assert done == []


@virtual_time
async def test_an_empty_outbox_is_drained_at_once() -> None:
    async with running() as (outbox, _):
        assert await outbox.drain(5.0) is True
    assert asyncio.get_running_loop().time() == 0.0
