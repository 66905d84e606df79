"""The clock that jumps."""

from __future__ import annotations

import asyncio
import time

import pytest

from stanchion.testing import VirtualTimeLoop, virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_a_day_passes_at_once_and_to_the_moment() -> None:
    began = time.monotonic()
    await asyncio.sleep(86_400.0 * 30)
    await asyncio.sleep(0.1)
    assert now() == 86_400.0 * 30 + 0.1
    assert time.monotonic() - began < 5.0


@virtual_time
async def test_timers_come_in_their_order_each_at_its_own_time() -> None:
    came: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        came.append((name, now()))

    async with asyncio.TaskGroup() as group:
        for name, seconds in (("c", 0.3), ("a", 0.1), ("b", 0.2)):
            group.create_task(wait(name, seconds))
    assert came == [("a", 0.1), ("b", 0.2), ("c", 0.3)]


@virtual_time
async def test_no_time_passes_while_something_can_run() -> None:
    for _ in range(1000):
        await asyncio.sleep(0)
    assert now() == 0.0


@virtual_time
async def test_a_timer_that_was_taken_back_does_not_come() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await asyncio.sleep(50.0)
    await asyncio.sleep(1.0)
    assert now() == 2.0


def test_a_deadlock_is_an_error_and_does_not_hang() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    loop = VirtualTimeLoop()
    try:
        with pytest.raises(RuntimeError, match="deadlock"):
            loop.run_until_complete(wait())
    finally:
        with pytest.raises(RuntimeError, match="deadlock"):
            loop.run_until_complete(asyncio.wait(asyncio.all_tasks(loop)))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@virtual_time
async def test_what_runs_in_a_thread_is_waited_for() -> None:
    assert await asyncio.to_thread(sum, (1, 2)) == 3


def test_arguments_are_passed_on() -> None:
    got: list[object] = []

    @virtual_time
    async def run(one: int, *, two: int) -> None:
        got.extend((one, two))

    run(1, two=2)
    assert got == [1, 2]
    assert run.__name__ == "run"
