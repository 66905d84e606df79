"""Health: an endpoint that fails again and again rests; one probe asks whether it is back."""

from __future__ import annotations

import asyncio
import logging
import math

import pytest

from stanchion.core.errors import NotYet, StanchionError, Unavailable
from stanchion.core.reply import End
from stanchion.core.service import Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.health import Health
from stanchion.rules.breaker import BreakerOptions
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import answer, busy, cut, dead, down, now, read, silent, unreachable, wrong

OPTIONS = BreakerOptions(failures=3, rest_s=1.0, rest_most_s=8.0)


def watched(provider: ScriptedProvider, metrics: Metrics | None = None) -> tuple[Health, Service]:
    health = Health("a/m", OPTIONS, metrics or Metrics())
    return health, stack(health, service=provider)


async def fail(service: Service, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(StanchionError):
            await read(await service(chat_call(stream=True)))


@virtual_time
async def test_a_good_answer_passes_through_and_is_counted_while_it_is_open() -> None:
    health, service = watched(ScriptedProvider([chat_answer()], chat_stream("a")))
    await read(await service(chat_call()))
    async with await service(chat_call(stream=True)) as reply:
        assert health.in_flight == 1
        await reply.read_whole()
    assert (health.in_flight, health.ready_in(now())) == (0, 0.0)


@pytest.mark.parametrize("error", [down, lambda: busy(status=500), silent, unreachable, cut])
def test_failures_in_a_row_make_it_rest_and_the_provider_is_left_alone(error) -> None:
    @virtual_time
    async def run() -> None:
        provider, metrics = ScriptedProvider(error(), [error()], [*chat_stream("a")[:1], error()]), Metrics()
        health, service = watched(provider, metrics)
        await fail(service, 3)
        assert (health.ready_in(now()), health.in_flight) == (1.0, 0)
        assert metrics.breaker_open.of("a/m").value == 1
        with pytest.raises(Unavailable, match="a/m is resting"):
            await service(chat_call())
        assert len(provider.calls) == 3

    run()


@pytest.mark.parametrize("error", [busy, wrong, lambda: busy(0.0, status=503)])
def test_busy_and_the_callers_fault_are_no_failure_of_the_endpoint(error) -> None:
    @virtual_time
    async def run() -> None:
        health, service = watched(ScriptedProvider(forever=error))
        await fail(service, 20)
        assert (health.ready_in(now()), health.in_flight) == (0.0, 0)

    run()


@virtual_time
async def test_one_refusal_for_good_makes_it_rest_for_the_longest_time() -> None:
    health, service = watched(ScriptedProvider(dead()))
    await fail(service)
    assert health.ready_in(now()) == 8.0


@virtual_time
async def test_a_time_that_the_provider_names_is_kept_by_all() -> None:
    health, service = watched(ScriptedProvider(busy(20.0), chat_stream("a")))
    await fail(service)
    assert health.ready_in(now()) == 20.0
    with pytest.raises(NotYet) as waits:  # the line waits for it: nothing failed
        await service(chat_call())
    assert waits.value.wait_s == 20.0
    await asyncio.sleep(20.0)
    await read(await service(chat_call(stream=True)))


@virtual_time
async def test_half_open_lets_exactly_one_probe_through() -> None:
    provider = ScriptedProvider(
        down(), down(), down(), [5.0, *chat_stream("a")], forever=lambda: chat_stream("b")
    )
    health, service = watched(provider)
    await fail(service, 3)
    await asyncio.sleep(1.0)
    passed = 0
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            try:
                group.create_task(read(await service(chat_call(stream=True))))
                passed += 1
            except Unavailable:
                assert health.ready_in(now()) == math.inf
    assert (passed, now()) == (1, 6.0)
    await read(await service(chat_call(stream=True)))  # it closed


@virtual_time
async def test_a_straggler_that_leaves_does_not_let_a_second_probe_through() -> None:
    provider = ScriptedProvider([60.0, *chat_stream("a")], down(), down(), down(), [60.0, *chat_stream("b")])
    health, service = watched(provider)
    straggler = await service(chat_call(stream=True))
    await fail(service, 3)
    await asyncio.sleep(1.0)
    probe = await service(chat_call(stream=True))
    await straggler.aclose()
    with pytest.raises(Unavailable):
        await service(chat_call(stream=True))
    await probe.aclose()
    assert (health.in_flight, health.ready_in(now())) == (0, 0.0)


@virtual_time
async def test_a_probe_is_given_back_when_its_caller_leaves() -> None:
    provider = ScriptedProvider(down(), down(), down(), [9.0], chat_stream("a"), chat_stream("a"))
    health, service = watched(provider)
    await fail(service, 3)
    await asyncio.sleep(1.0)
    async with asyncio.TaskGroup() as group:  # cancelled before the answer
        task = group.create_task(answer(service, chat_call()))
        await asyncio.sleep(1.0)
        assert health.ready_in(now()) == math.inf
        task.cancel()
    assert health.ready_in(now()) == 0.0
    async with await service(chat_call(stream=True)) as reply:  # and in the middle of it
        await anext(reply)
        assert health.ready_in(now()) == math.inf
    assert (health.ready_in(now()), health.in_flight) == (0.0, 0)
    assert provider.ends == [End.CANCELLED]
    await read(await service(chat_call(stream=True)))


@pytest.mark.parametrize("error", [wrong, busy, lambda: busy(0.0)])
def test_a_probe_that_was_answered_and_proved_nothing_is_given_back(error) -> None:
    @virtual_time
    async def run() -> None:
        health, service = watched(ScriptedProvider(down(), down(), down(), error(), chat_stream("a")))
        await fail(service, 3)
        await asyncio.sleep(1.0)
        await fail(service)
        assert health.ready_in(now()) == 0.0
        await read(await service(chat_call(stream=True)))

    run()


@virtual_time
async def test_a_dead_key_rests_also_where_the_refusal_names_a_time() -> None:
    error = dead()
    error.retry_after_s = 0.5
    health, service = watched(ScriptedProvider(error))
    await fail(service)
    assert health.ready_in(now()) == 8.0


@virtual_time
async def test_it_can_say_why_it_rests() -> None:
    health, service = watched(ScriptedProvider(wrong(), silent(), down()))
    said: list[str] = []
    for _ in range(3):
        await fail(service)
        said.append(health.last_failure)
    assert said[-2:] == ["upstream_silent", "Refused"]


@virtual_time
async def test_changes_are_logged_opening_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    _, service = watched(ScriptedProvider(down(), down(), down(), chat_stream("a")))
    with caplog.at_level(logging.INFO):
        await fail(service, 3)
        await asyncio.sleep(1.0)
        await read(await service(chat_call(stream=True)))
    seen = [(record.levelname, vars(record)["facts"]["state"]) for record in caplog.records]
    assert seen == [("WARNING", "open"), ("INFO", "closed")]


@virtual_time
async def test_a_failed_probe_makes_it_rest_twice_as_long_and_a_good_one_closes_it() -> None:
    provider, metrics = ScriptedProvider(down(), down(), down(), down(), chat_stream("a")), Metrics()
    health, service = watched(provider, metrics)
    await fail(service, 3)
    await asyncio.sleep(1.0)
    await fail(service)
    assert health.ready_in(now()) == 2.0
    await asyncio.sleep(2.0)
    await read(await service(chat_call(stream=True)))
    assert (health.ready_in(now()), metrics.breaker_open.of("a/m").value) == (0.0, 0)


@virtual_time
async def test_readers_that_leave_prove_nothing() -> None:
    health, service = watched(ScriptedProvider(forever=lambda: chat_stream("a")))
    for _ in range(20):
        async with await service(chat_call(stream=True)) as reply:
            await anext(reply)
    assert (health.ready_in(now()), health.in_flight) == (0.0, 0)


@virtual_time
async def test_a_good_answer_between_failures_counts_them_anew() -> None:
    script = [down(), down(), chat_stream("a"), down(), down(), chat_stream("a")]
    health, service = watched(ScriptedProvider(*script))
    for ok in (False, False, True) * 2:
        if ok:
            await read(await service(chat_call(stream=True)))
        else:
            await fail(service)
    assert health.ready_in(now()) == 0.0


@virtual_time
async def test_a_probe_that_found_no_room_is_given_back_and_wakes_nobody() -> None:
    health, service = watched(ScriptedProvider(down(), down(), down(), NotYet(0.25), chat_stream("a")))
    woken = list[float]()
    health.watch(lambda: woken.append(now()))
    await fail(service, 3)
    await asyncio.sleep(1.0)
    await fail(service)
    assert (health.ready_in(now()), woken) == (0.0, [])  # the line looks when it has heard why
    await read(await service(chat_call(stream=True)))
    assert woken == [1.0]
