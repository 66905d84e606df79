"""Timeouts behave as asyncio's own, and share one timer."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.clock import Clock
from stanchion.testing import VirtualTimeLoop, virtual_time


@virtual_time
async def test_a_timeout_rings_at_its_time() -> None:
    clock = Clock()
    with pytest.raises(TimeoutError), clock.timeout_at(2.5):
        await asyncio.sleep(60.0)
    assert clock.now() == 2.5
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtual_time
async def test_a_timeout_that_is_not_needed_leaves_nothing() -> None:
    clock = Clock()
    with clock.timeout_at(9.0):
        await asyncio.sleep(1.0)
    await asyncio.sleep(100.0)
    assert clock.now() == 101.0
    assert clock._timer is None


@virtual_time
async def test_a_timeout_in_the_past_rings_at_the_first_wait() -> None:
    clock = Clock()
    await asyncio.sleep(5.0)
    with pytest.raises(TimeoutError), clock.timeout_at(1.0):
        await asyncio.sleep(1.0)
    assert clock.now() == 5.0


@virtual_time
async def test_the_inner_timeout_does_not_ring_for_the_outer_one() -> None:
    clock = Clock()
    with clock.timeout_at(10.0):
        with pytest.raises(TimeoutError), clock.timeout_at(3.0):
            await asyncio.sleep(60.0)
        await asyncio.sleep(1.0)
    assert clock.now() == 4.0
    with pytest.raises(TimeoutError), clock.timeout_at(5.0), clock.timeout_at(7.0):
        await asyncio.sleep(60.0)
    assert clock.now() == 5.0


@virtual_time
async def test_a_cancellation_from_outside_stays_one() -> None:
    clock = Clock()

    async def wait() -> None:
        with clock.timeout_at(10.0):
            await asyncio.sleep(60.0)

    for leaves_at in (1.0, 11.0):
        task = asyncio.get_running_loop().create_task(wait())
        await asyncio.sleep(leaves_at - clock.now())
        task.cancel()
        with pytest.raises(asyncio.CancelledError if leaves_at < 10.0 else TimeoutError):
            await task


@virtual_time
async def test_a_cancellation_at_the_same_moment_wins() -> None:
    clock = Clock()

    async def wait() -> None:
        with clock.timeout_at(10.0):
            await asyncio.sleep(60.0)

    task = asyncio.get_running_loop().create_task(wait())
    asyncio.get_running_loop().call_at(10.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


@virtual_time
async def test_an_error_in_it_passes() -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="ours"), clock.timeout_at(1.0):
        raise ValueError("ours")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=20))
def test_every_alarm_rings_once_at_its_time_unless_it_was_taken_back(
    alarms: list[tuple[float, bool]],
) -> None:
    async def run() -> None:
        clock, rang = Clock(), list[tuple[float, float]]()
        numbers = [clock.set(when, lambda when=when: rang.append((when, clock.now()))) for when, _ in alarms]
        clock.set(math.inf, lambda: rang.append((-1.0, 0.0)))
        for number, (_, back) in zip(numbers, alarms, strict=True):
            if back:
                clock.take_back(number)
        await asyncio.sleep(200.0)
        assert sorted(rang) == sorted((when, when) for when, back in alarms if not back)
        for number in numbers:
            clock.take_back(number)  # does nothing

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


@virtual_time
async def test_alarms_that_were_taken_back_do_not_pile_up() -> None:
    clock, rang = Clock(), list[int]()
    clock.set(5.0, lambda: rang.append(5))
    for number in range(10_000):
        clock.take_back(clock.set(600.0 + number, lambda: rang.append(-1)))
    clock.set(3.0, lambda: rang.append(3))
    assert len(clock._heap) < 200
    await asyncio.sleep(1000.0)
    assert rang == [3, 5]
