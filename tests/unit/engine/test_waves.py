"""Free workers begin together."""

from __future__ import annotations

import asyncio

from stanchion.core.clock import Clock
from stanchion.engine.waves import Waves
from stanchion.rules.width import Width
from stanchion.testing import virtual_time


def waves(width: int) -> Waves:
    return Waves(Clock(), Width(width, width))


@virtual_time
async def test_who_is_free_waits_a_moment_for_others_and_all_begin_at_once() -> None:
    it, loop = waves(20), asyncio.get_running_loop()
    one = it.join()
    await asyncio.sleep(0.003)
    two = it.join()
    assert not one.done()
    await one
    assert two.done()
    assert 0.004 <= loop.time() < 0.005
    three = it.join()
    await three
    assert 0.008 <= loop.time() < 0.009


@virtual_time
async def test_when_a_quarter_of_all_are_free_nobody_waits() -> None:
    it = waves(8)
    one, two = it.join(), it.join()
    assert one.done()
    assert two.done()
    three = it.join()
    await asyncio.sleep(0)
    assert not three.done()  # the alarm of the first wave was taken back
    await three


@virtual_time
async def test_the_only_worker_waits_for_nobody() -> None:
    assert waves(1).join().done()


@virtual_time
async def test_who_is_cancelled_is_left_out() -> None:
    it = waves(20)
    gone, stays = it.join(), it.join()
    gone.cancel()
    await stays
    assert gone.cancelled()
