"""Hedging: a second attempt on another key beside one that is late; who begins first is the answer."""

from __future__ import annotations

import asyncio
import gc
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.errors import Cut, DeadlineExceeded, Refused
from stanchion.core.reply import End, Reply
from stanchion.policies.deadline import Deadline, DeadlineOptions
from stanchion.policies.hedge import HedgeOptions
from stanchion.testing import VirtualTimeLoop, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.hedging import LATE_S, ON, STREAM, Key, hedging, shown, streamed
from tests.unit.policies.reading import answer, cut, down, now, read

WHOLE = b"".join(STREAM)


@virtual_time
async def test_an_answer_that_begins_as_usual_passes_through() -> None:
    a, b = Key("p/m#a", [0.09, *STREAM]), Key("p/m#b")
    async with hedging(a, b) as world:
        call = streamed()
        assert await read(await world(call)) == WHOLE
        assert (now(), shown(call.trail.attempts), world.tasks) == (0.09, [("a", "completed", "")], [])


@virtual_time
async def test_a_late_attempt_loses_against_one_on_another_key() -> None:
    a, b = Key("p/m#a", [60.0, *STREAM]), Key("p/m#b", [0.05, *STREAM])
    async with hedging(a, b) as world:
        call = streamed()
        reply = await world(call)
        assert LATE_S < now() < LATE_S + 0.05
        # the loser is gone before anybody reads on
        assert (a.open, a.ends, reply.head.endpoint) == (0, [End.CANCELLED], "p/m#b")
        assert await read(reply) == WHOLE
        assert shown(call.trail.attempts) == [("a", "cancelled", "lost"), ("b", "completed", "hedge")]
        assert world.outcomes() == {"won": 1}
        assert call.trail.hedged == "won"
        answering = call.trail.answering
        assert answering is not None
        assert answering.endpoint == "p/m#b"
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0  # who made the call is not left half cancelled
    await asyncio.sleep(1.0)


@virtual_time
async def test_the_second_attempt_is_given_up_where_the_first_begins_after_all() -> None:
    a, b = Key("p/m#a", [0.2, *STREAM]), Key("p/m#b", [5.0, *STREAM])
    async with hedging(a, b) as world:
        call = streamed()
        reply = await world(call)
        assert (now(), b.open, b.ends) == (0.2, 0, [End.CANCELLED])
        assert await read(reply) == WHOLE
        assert shown(call.trail.attempts) == [("a", "completed", ""), ("b", "cancelled", "hedge lost")]
        assert (world.outcomes(), call.trail.hedged) == ({"lost": 1}, "lost")
        answering = call.trail.answering
        assert answering is not None
        assert answering.endpoint == "p/m#a"


@virtual_time
async def test_both_are_in_the_sum_of_what_the_call_used() -> None:
    a, b = Key("p/m#a", [60.0, *STREAM]), Key("p/m#b", STREAM)
    async with hedging(a, b) as world:
        call = streamed()
        await read(await world(call))
    lost, won = call.trail.attempts
    assert lost.usage is not None
    assert lost.usage.estimated
    assert won.usage is not None
    assert not won.usage.estimated
    assert call.trail.usage == lost.usage + won.usage


@pytest.mark.parametrize(("first", "second"), [([60.0], [0.05, *STREAM]), ([0.3, *STREAM], [60.0])])
@virtual_time
async def test_the_fastest_is_the_answer_whichever_it_is(first: list, second: list) -> None:
    async with hedging(Key("p/m#a", first), Key("p/m#b", second)) as world:
        assert await read(await world(streamed())) == WHOLE
        assert now() < 0.31


@virtual_time
async def test_an_error_before_the_first_chunk_is_raised_as_if_there_were_no_hedging() -> None:
    a, b = Key("p/m#a", [0.05, down()]), Key("p/m#b")
    async with hedging(a, b) as world:
        with pytest.raises(Refused) as caught:
            await world(streamed())
        assert (caught.value.endpoint, b.calls, now()) == ("p/m#a", [], 0.05)


@virtual_time
async def test_where_the_first_fails_the_second_goes_on_as_the_answer() -> None:
    a, b = Key("p/m#a", [0.2, down()]), Key("p/m#b", [5.0, *STREAM])
    async with hedging(a, b) as world:
        call = streamed()
        assert await read(await world(call)) == WHOLE
        assert now() == pytest.approx(LATE_S + 5.0, abs=0.01)
        assert shown(call.trail.attempts) == [("a", "failed", ""), ("b", "completed", "hedge")]
        assert world.outcomes() == {"won": 1}


@virtual_time
async def test_where_the_second_fails_the_first_goes_on_undisturbed() -> None:
    a, b = Key("p/m#a", [0.5, *STREAM]), Key("p/m#b", down())
    async with hedging(a, b) as world:
        call = streamed()
        assert await read(await world(call)) == WHOLE
        assert now() == 0.5
        assert shown(call.trail.attempts) == [("a", "completed", ""), ("b", "failed", "hedge lost")]
        assert world.outcomes() == {"failed": 1}


@virtual_time
async def test_where_both_fail_the_error_is_the_firsts() -> None:
    a, b = Key("p/m#a", [0.5, down()]), Key("p/m#b", [0.5, down()])
    async with hedging(a, b) as world:
        with pytest.raises(Refused) as caught:
            await world(streamed())
        assert caught.value.endpoint == "p/m#a"
        assert now() == pytest.approx(LATE_S + 0.5, abs=0.01)  # the second had its chance
        assert world.outcomes() == {"failed": 1}


@virtual_time
async def test_a_winner_that_is_cut_later_is_cut_for_its_reader() -> None:
    a, b = Key("p/m#a", [60.0, *STREAM]), Key("p/m#b", [*STREAM[:2], cut()])
    async with hedging(a, b) as world:
        call = streamed()
        reply, got = await world(call), list[bytes]()
        with pytest.raises(Cut):
            await read(reply, got)
        assert got == STREAM[:2]
        assert shown(call.trail.attempts) == [("a", "cancelled", "lost"), ("b", "failed", "hedge")]


@virtual_time
async def test_cancelled_while_both_run_both_end_and_are_counted() -> None:
    a, b = Key("p/m#a", [60.0, *STREAM]), Key("p/m#b", [60.0, *STREAM])
    async with hedging(a, b) as world:
        call = streamed()
        asked = asyncio.get_running_loop().create_task(answer(world, call))
        await asyncio.sleep(1.0)
        assert (a.open, b.open) == (1, 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert (a.ends, b.ends) == ([End.CANCELLED], [End.CANCELLED])
        assert shown(call.trail.attempts) == [("a", "cancelled", ""), ("b", "cancelled", "hedge")]
        assert all(each.usage is not None for each in call.trail.attempts)
        assert world.outcomes() == {"left": 1}


@virtual_time
async def test_cancelled_while_the_second_alone_runs_it_ends() -> None:
    a, b = Key("p/m#a", [0.2, down()]), Key("p/m#b", [60.0, *STREAM])
    async with hedging(a, b) as world:
        asked = asyncio.get_running_loop().create_task(answer(world, streamed()))
        await asyncio.sleep(1.0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert (b.open, b.ends, world.outcomes()) == (0, [End.CANCELLED], {"left": 1})


@virtual_time
async def test_one_that_begins_in_the_moment_in_which_it_is_late_is_left_alone() -> None:
    a, b = Key("p/m#a"), Key("p/m#b", [9.0, *STREAM])
    async with hedging(a, b) as world:
        after_s = world.learned.of(("p/m", "chat/completions", True), 0.0).quantile(0.95)
        a._script.append([math.nextafter(after_s, 0.0), *STREAM])
        assert await read(await world(streamed())) == WHOLE
        await asyncio.sleep(0)
        assert (len(world.tasks), b.calls, world.outcomes()) == (1, [], {})


@virtual_time
async def test_the_deadline_ends_both() -> None:
    a, b = Key("p/m#a", [60.0]), Key("p/m#b", [60.0])
    async with hedging(a, b) as world:
        with pytest.raises(DeadlineExceeded):
            await world(streamed(deadline=2.0))
        assert (now(), a.open, b.open) == (2.0, 0, 0)


@pytest.mark.parametrize("gone_at", [0.0, 0.05, LATE_S, 0.15, 0.2, 0.3])
@virtual_time
async def test_a_timeout_of_the_caller_is_its_own_also_at_the_moment_the_second_wins(gone_at: float) -> None:
    a, b = Key("p/m#a", [60.0, *STREAM]), Key("p/m#b", [0.2 - 0.1028, 60.0, *STREAM])
    async with hedging(a, b) as world:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(gone_at):
                await read(await world(streamed()))
        assert (a.open, b.open) == (0, 0)


@virtual_time
async def test_a_caller_that_leaves_as_the_second_wins_leaves_nothing_open() -> None:
    a, b = Key("p/m#a", [60.0]), Key("p/m#b")
    asked: list[asyncio.Task[Reply]] = []

    def leaves() -> list[
        bytes | float
    ]:  # asked in the task of the second: the caller leaves in the same turn
        asyncio.get_running_loop().call_soon(asked[0].cancel)
        return list(STREAM)

    b._script.append(leaves)
    async with hedging(a, b) as world:
        asked.append(asyncio.get_running_loop().create_task(answer(world, streamed())))
        with pytest.raises(asyncio.CancelledError):
            await asked[0]
        assert (a.open, b.open, b.ends) == (0, 0, [End.CANCELLED])


@pytest.mark.parametrize(
    ("options", "call"),
    [
        (HedgeOptions(), streamed()),
        (ON, streamed().having(priority="batch")),
        (ON, chat_call()),
        (ON, streamed().having(options={HedgeOptions: HedgeOptions(on=False)})),
    ],
)
@virtual_time
async def test_off_for_jobs_and_for_whole_answers_nothing_is_made_beside(options, call) -> None:
    steps = STREAM if call.stream else [chat_answer()]
    a, b = Key("p/m#a", [5.0, *steps]), Key("p/m#b")
    async with hedging(a, b, options=options) as world:
        world.learn(stream=False)
        await read(await world(call))
        assert (now(), world.outcomes()) == (5.0, {})


@virtual_time
async def test_whole_answers_are_hedged_where_that_is_wanted() -> None:
    a, b = Key("p/m#a", [5.0, chat_answer("a")]), Key("p/m#b", [0.05, chat_answer("b")])
    async with hedging(a, b, options=HedgeOptions(on=True, whole=True)) as world:
        world.learn(stream=False)
        assert await read(await world(chat_call())) == chat_answer("b")
        assert now() < 0.2


@virtual_time
async def test_nothing_is_late_before_enough_was_seen() -> None:
    a, b = Key("p/m#a", forever=lambda: [0.1, *STREAM]), Key("p/m#b")
    async with hedging(a, b, learned=False) as world:
        for _ in range(49):
            await read(await world(streamed()))
        a._script.append([5.0, *STREAM])
        await read(await world(streamed()))
        assert world.outcomes() == {}
        for _ in range(3):
            await read(await world(streamed()))
        a._script.append([5.0, *STREAM])
        b._script.append(STREAM)
        await read(await world(streamed()))
        assert world.outcomes() == {"won": 1}


@virtual_time
async def test_the_time_in_the_line_is_not_the_providers_lateness() -> None:
    a, b = Key("p/m#a", [0.05, *STREAM]), Key("p/m#b")
    a.full_until = b.full_until = 3.0
    b.rests_until = 9.0
    async with hedging(a, b) as world:
        assert await read(await world(streamed())) == WHOLE
        assert (now(), world.outcomes()) == (3.05, {})


@virtual_time
async def test_no_race_is_left_to_the_collector() -> None:
    a, b = Key("p/m#a", forever=lambda: [0.05, *STREAM]), Key("p/m#b", forever=lambda: [0.05, *STREAM])
    async with hedging(a, b) as world:
        await read(await world(streamed()))
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await read(await world(streamed()))
            assert not [each for each in gc.get_objects() if type(each).__name__ == "Race"]
        finally:
            gc.enable()


class Plan:
    """What two keys do with some calls, and when each reader goes."""

    def __init__(self, draw: st.DrawFn) -> None:
        waits = st.sampled_from([0.0, 0.05, 0.0972, 0.1028, 0.2, 0.3, 4.0])
        self.calls: list[tuple[float, list[Any], list[Any], float | None]] = []
        for _ in range(draw(st.integers(1, 12))):
            one, two = (self._play(draw, draw(waits)) for _ in range(2))
            leaves_s = draw(st.none() | st.sampled_from([0.1, 0.2, 1.0]))
            self.calls.append((draw(st.floats(0, 2)), one, two, leaves_s))

    @staticmethod
    def _play(draw: st.DrawFn, wait_s: float) -> list[Any]:
        steps: list[Any] = [wait_s, *chat_stream("a", "b", usage=(5, 2))]
        if draw(st.integers(0, 3)) == 0:
            steps[draw(st.integers(0, len(steps))) :] = [draw(st.sampled_from([down, cut]))()]
        return steps


@settings(max_examples=150, deadline=None)
@given(st.composite(Plan)())
def test_whatever_happens_all_ends_once_and_nothing_is_asked_twice(plan: Plan) -> None:

    async def run() -> None:
        a = Key("p/m#a", *[each[1] for each in plan.calls])
        b = Key("p/m#b", *[each[2] for each in plan.calls], forever=lambda: list(STREAM))
        a._forever = lambda: list(STREAM)
        async with hedging(a, b, above=[Deadline(DeadlineOptions())]) as world:
            calls = [streamed() for _ in plan.calls]

            async def one(number: int) -> None:
                at, _, _, leaves_s = plan.calls[number]
                await asyncio.sleep(at)
                try:
                    async with asyncio.timeout(leaves_s):
                        await read(await world(calls[number]))
                except (Refused, Cut, TimeoutError):
                    pass

            async with asyncio.TaskGroup() as group:
                for number in range(len(calls)):
                    group.create_task(one(number))
            assert (a.open, b.open) == (0, 0)
            for call in calls:
                attempts = call.trail.attempts
                assert all(each.ended_at is not None for each in attempts)
                assert sum(each.hedge for each in attempts) <= 1
                assert all(
                    each.lost is False or call.trail.hedged in ("won", "lost", "failed") for each in attempts
                )
                assert len({each.endpoint for each in attempts}) == len(attempts)  # never two on one key
            assert all(task.done() for task in world.tasks)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())
