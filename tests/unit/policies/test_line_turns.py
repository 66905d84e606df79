"""A turn in the line: cancelled at any point, refused by the endpoint after all, or taken by a try that fails."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.call import Call
from stanchion.core.errors import NotYet, Refused, Unavailable
from stanchion.core.reply import Reply
from stanchion.policies.balance import LineOptions
from stanchion.testing import (
    ScriptedProvider,
    VirtualTimeLoop,
    chat_answer,
    chat_call,
    chat_stream,
    virtual_time,
)
from tests.unit.policies.reading import down, now, read
from tests.unit.policies.test_line import Place, slow, together


class Shared(ScriptedProvider):
    """A provider whose shared store says no so often."""

    def __init__(self, *noes: float) -> None:
        super().__init__(forever=lambda: [chat_answer()], name="shared")
        self.noes = list(noes)
        self.asked: list[tuple[float, str]] = []

    async def __call__(self, call: Call, /) -> Reply:
        self.asked.append((now(), call.caller))
        await asyncio.sleep(0.125)  # the store's round trip
        if self.noes:
            raise NotYet(self.noes.pop(0))
        return await super().__call__(call)


@virtual_time
async def test_a_call_that_found_no_room_is_the_head_again_and_not_before_its_time() -> None:
    provider = Shared(2.0)
    place = Place(provider)
    async with asyncio.TaskGroup() as group:
        group.create_task(place.ask("a"))
        await asyncio.sleep(0.5)
        group.create_task(place.ask("b"))
    assert provider.asked == [(0.0, "a"), (2.125, "a"), (2.125, "b")]
    assert (place.failed, place.is_empty()) == ([], True)


@virtual_time
async def test_several_that_found_no_room_go_before_who_came_later() -> None:
    provider = Shared(*[1.0] * 4)
    provider.full_until = 0.5
    place = Place(provider)
    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(place.ask(name))
        await asyncio.sleep(1.0)
        for name in "abe":
            group.create_task(place.ask(name))
    turns = [caller for _, caller in provider.asked]
    assert (turns[:4], sorted(turns[4:8])) == (list("abcd"), list("abcd"))
    assert sorted(turns[8:]) == list("abe")


@virtual_time
async def test_no_room_for_a_time_that_nobody_knows_is_looked_at_again() -> None:
    place = Place(Shared(math.inf))
    await place.ask("a")
    assert place.begun == [(1.25, "a")]


@virtual_time
async def test_a_wake_ends_a_time_without_room_that_nobody_knows() -> None:
    provider = Shared(math.inf)
    place = Place(provider)
    async with asyncio.TaskGroup() as group:
        group.create_task(place.ask("a"))
        await asyncio.sleep(0.5)
        provider.wake()
    assert provider.asked == [(0.0, "a"), (0.5, "a")]


@virtual_time
async def test_who_waits_for_its_own_calls_is_refused_too_where_all_endpoints_rest() -> None:
    provider = slow(50.0, most=0)
    place = Place(provider, caller_open_most=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(place.ask("a"))
        await asyncio.sleep(1.0)
        provider.rests_until = 60.0
        group.create_task(place.ask("a"))
    assert place.failed == [(1.0, "a", "no_endpoint_available")]


@virtual_time
async def test_no_room_for_too_long_is_refused() -> None:
    provider = Shared(40.0)
    place = Place(provider)
    await place.ask("a")
    assert place.failed == [(0.125, "a", "line_too_long")]
    assert place.is_empty()


@virtual_time
async def test_an_error_before_the_first_chunk_gives_the_turn_to_the_next() -> None:
    provider = ScriptedProvider([1.0, chat_answer()], down(), [chat_answer()], name="p")
    provider.open_most = 1
    place = Place(provider)
    async with asyncio.TaskGroup() as group:
        group.create_task(place.ask("a"))
        await asyncio.sleep(0)
        failing = group.create_task(refused(place))
        await asyncio.sleep(0)
        group.create_task(place.ask("c"))
    assert failing.done()
    assert (place.begun, place.is_empty()) == ([(1.0, "a"), (1.0, "c")], True)


async def refused(place: Place) -> None:
    with pytest.raises(Refused):
        await read(await place.service(chat_call().having(caller="b")))


@virtual_time
async def test_an_error_in_mid_stream_gives_the_place_back() -> None:
    begin = chat_stream("x")[:1]
    provider = ScriptedProvider([*begin, 1.0, down()], [chat_answer()], name="p")
    provider.open_most = 1
    place = Place(provider, caller_open_most=1)
    async with asyncio.TaskGroup() as group:
        reply = await place.service(chat_call(stream=True).having(caller="a"))
        group.create_task(place.ask("a"))
        with pytest.raises(Refused):
            await read(reply)
    assert (place.begun, place.is_empty()) == ([(1.0, "a")], True)


@virtual_time
async def test_a_call_cancelled_in_the_moment_of_its_turn_passes_it_on() -> None:
    provider = slow(1.0)
    place = Place(provider, caller_open_most=3)
    async with asyncio.TaskGroup() as group:
        group.create_task(place.ask("a"))
        await asyncio.sleep(0)
        second, third = group.create_task(place.ask("b")), group.create_task(place.ask("c"))
        await asyncio.sleep(0)
        wake = provider.wake

        def cancel_after() -> None:
            wake()  # b has its turn now, and its task did not go on yet
            second.cancel()
            provider.wake = wake

        provider.wake = cancel_after
    assert second.cancelled()
    assert third.done()
    assert (place.begun, len(provider.calls)) == ([(1.0, "a"), (2.0, "c")], 2)
    assert place.is_empty()


@virtual_time
async def test_a_call_that_leaves_the_line_lets_the_next_be_looked_at() -> None:
    provider = slow(0.0, most=0)
    provider.full_until = math.inf
    place = Place(provider)
    async with asyncio.TaskGroup() as group:
        first, _ = group.create_task(place.ask("a")), group.create_task(place.ask("b"))
        await asyncio.sleep(1.0)
        provider.full_until = 0.0  # and nobody is told
        first.cancel()
    assert (place.begun, place.is_empty()) == ([(1.0, "b")], True)


@virtual_time
async def test_who_waits_is_refused_with_the_reason_when_all_endpoints_begin_to_rest() -> None:
    provider = slow(1.0)
    place = Place(provider)
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(place.ask(name))
        await asyncio.sleep(0.5)
        provider.rests_until = 60.0
    assert place.begun == [(1.0, "a")]
    assert place.failed == [(1.0, "b", "no_endpoint_available"), (1.0, "c", "no_endpoint_available")]


@virtual_time
async def test_a_call_at_its_callers_bound_is_refused_when_its_time_is_over() -> None:
    place = Place(slow(50.0, most=0), caller_open_most=1)
    await together(place, "a0", "a1", "b0")
    assert place.failed == [(30.0, "a1", "line_wait_over")]
    assert (len(place.begun), place.is_empty()) == (2, True)


@virtual_time
async def test_lines_that_share_an_endpoint_take_turns() -> None:
    a, b = slow(1.0, name="a"), slow(1.0, name="b")
    b.rests_until = math.inf
    place = Place(a, b)
    never_b = chat_call().having(never=frozenset("b"))
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(place.ask(f"x{number}"))
        await asyncio.sleep(0)
        for number in range(3):
            group.create_task(place.ask(f"y{number}", call=never_b))
    assert [name[0] for _, name in place.begun] == ["x", "x", "y", "x", "y", "x", "y"]
    assert place.is_empty()


@virtual_time
async def test_a_caller_at_its_bound_sends_a_batch_call_after_one_of_them_was_served() -> None:
    first = [[seconds, chat_answer()] for seconds in (0.2, 0.3, 3.0)]
    provider = ScriptedProvider(*first, forever=lambda: [0.1, chat_answer()], name="p")
    provider.open_most = 2
    place = Place(provider, caller_open_most=1)
    batch = chat_call().having(priority="batch")
    async with asyncio.TaskGroup() as group:
        for name in ("x", "y", "a0", "b0", "c0", "b1", "c1", "b2", "c2"):
            group.create_task(place.ask(name, call=batch))
        await asyncio.sleep(0.25)  # a0 is open, and nothing of a waits
        group.create_task(place.ask("a1"))
        await asyncio.sleep(0.3)
        group.create_task(place.ask("a2", call=batch))
    assert [name for _, name in place.begun][-3:] == ["a0", "a1", "a2"]
    assert (len(place.begun), place.failed, place.is_empty()) == (11, [], True)


@virtual_time
async def test_a_new_setting_counts_for_who_comes_after_it() -> None:
    place = Place(slow(1.0, most=0), caller_open_most=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(place.ask("a0"))
        group.create_task(place.ask("a1"))
        await asyncio.sleep(0.5)
        place.room.configure(LineOptions())
        group.create_task(place.ask("a2"))
    assert place.begun == [(1.0, "a0"), (1.5, "a1"), (1.5, "a2")]
    assert place.is_empty()


plans = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.3, 1.0, 2.5]),  # comes at
        st.sampled_from("aab"),
        st.sampled_from([None, None, 0.0, 0.3, 1.0, 1.001, 2.0]),  # is cancelled after
        st.sampled_from([math.inf, 1.5, 4.0]),  # its deadline
        st.booleans(),  # a stream
        st.sampled_from(["interactive", "batch"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(plans, st.integers(0, 2), st.integers(0, 2), st.lists(st.sampled_from([0.001, 0.5, 2.0]), max_size=4))
def test_wherever_calls_are_cancelled_nothing_is_left(
    plan: list[tuple[float, str, float | None, float, bool, str]],
    most: int,
    caller_most: int,
    noes: list[float],
) -> None:
    async def run() -> None:
        shared = Shared(*noes)
        shared._forever = lambda: [1.0, *chat_stream("x")]
        other = ScriptedProvider(forever=lambda: [0.5, down()], name="other")
        shared.open_most = other.open_most = most
        place = Place(shared, other, caller_open_most=caller_most)

        async def ask(at: float, deadline: float, *, stream: bool, **known) -> None:
            await asyncio.sleep(at)
            call = chat_call(stream=stream).having(deadline=at + deadline, **known)
            try:
                await read(await place.service(call))
            except (Refused, Unavailable):
                pass
            finally:
                assert now() <= at + 60.0

        async with asyncio.TaskGroup() as group:
            for at, caller, leaves_after, deadline, stream, priority in plan:
                asks = ask(at, deadline, stream=stream, caller=caller, priority=priority)
                task = group.create_task(quiet(asks))
                if leaves_after is not None:
                    asyncio.get_running_loop().call_at(at + leaves_after, task.cancel)
        await asyncio.sleep(10.0)
        place.room.rests.clear()
        assert place.is_empty()
        assert (shared.open, other.open) == (0, 0)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


async def quiet(job) -> None:
    try:
        await job
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, AssertionError):
            raise
