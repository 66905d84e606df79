"""Limits of callers in this process: taken of the meters themselves while all have room."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.caller import Level, Standing
from stanchion.core.clock import Clock
from stanchion.core.errors import LimitReached
from stanchion.core.service import stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.caller_limits import CallerLimits, own_limits
from stanchion.policies.trace_attempt import TraceAttempt
from stanchion.rules.caller_limits import read_limits
from stanchion.stores.memory import MemoryLimits
from stanchion.stores.protocols import Change, Take
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, virtual_time
from tests.unit.policies.reading import read

TEAM = Level("team a", read_limits(["requests=12/minute"]))
KEYS = [
    Standing(
        (Level(f"key {name}", read_limits(["requests=8/minute", "tokens=900/minute"])), TEAM), caller=name
    )
    for name in "xyz"
]
CALLS = st.tuples(st.sampled_from(KEYS), st.floats(0.0, 90.0), st.integers(1, 300))


@settings(max_examples=40, deadline=None)
@given(st.lists(CALLS, max_size=40))
def test_no_limit_is_passed_by_more_than_comes_back_meanwhile(
    calls: list[tuple[Standing, float, int]],
) -> None:
    @virtual_time
    async def run() -> None:
        clock, metrics, sent = Clock(), Metrics(), list[tuple[str, float]]()
        began = clock.now()
        provider = ScriptedProvider(forever=[chat_answer("x", usage=(10, 50))])
        traced = TraceAttempt("a/m", "m", metrics, clock)
        service = stack(CallerLimits(own_limits(clock), clock, metrics), traced, service=provider)

        async def one(standing: Standing, at: float, most: int) -> None:
            await asyncio.sleep(at)
            call = chat_call(max_tokens=most)
            with contextlib.suppress(LimitReached):
                await read(await service(call.having(options={Standing: standing})))
                sent.append((standing.caller, clock.now() - began))

        async with asyncio.TaskGroup() as group:
            for each in calls:
                group.create_task(one(*each))
        for since in [0.0, *(at for _, at in sent)]:
            for until in [at for _, at in sent if at >= since]:
                within = [name for name, at in sent if since <= at <= until]
                back = (until - since) / 60.0 + 1e-6
                assert len(within) <= 12 * (1 + back)
                assert all(count <= 8 * (1 + back) for count in Counter(within).values())

    run()


STEP = st.tuples(st.booleans(), st.floats(0.0, 20.0), st.lists(st.floats(0.0, 15.0), min_size=2, max_size=2))


@given(st.lists(STEP, max_size=40))
def test_meters_are_as_deep_as_if_the_store_had_been_asked(
    steps: list[tuple[bool, float, list[float]]],
) -> None:
    async def run() -> None:
        now = 0.0
        here, asked = MemoryLimits(lambda: now), MemoryLimits(lambda: now)
        for ended, later_s, costs in steps:
            now += later_s
            takes = [Take("a", costs[0], 10.0), Take("b", costs[1], 30.0)]
            meters = here.take_here(takes)
            if meters is not None:
                assert (await asked.take(takes, (), "")).wait_s == 0.0
                if ended:
                    meters[0].book(now, -costs[0] / 2)
                    asked.change_now([Change("a", -costs[0] / 2)], (), "")
            none = [Take("a", 0.0, 0.0), Take("b", 0.0, 0.0)]
            depth_s = (await asked.take(none, (), "")).depth_s
            assert (await here.take(none, (), "")).depth_s == pytest.approx(depth_s, abs=1e-9)

    asyncio.run(run())


@virtual_time
async def test_what_has_no_room_in_one_meter_takes_of_none() -> None:
    store = own_limits(Clock()).limits
    assert isinstance(store, MemoryLimits)
    assert store.take_here([Take("a", 5.0, 10.0), Take("b", 31.0, 30.0)]) is None
    assert (await store.take([Take("a", 0.0, 0.0)], (), "")).depth_s == (pytest.approx(0.0),)
