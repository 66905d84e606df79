"""Coalescing: identical calls in flight are one call upstream, and each reader reads as it likes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.call import Call
from stanchion.core.errors import Cut, DeadlineExceeded, Refused, Unavailable
from stanchion.core.reply import End
from stanchion.core.service import Service
from stanchion.policies.cache import CacheOptions
from stanchion.policies.coalesce import CoalesceOptions
from stanchion.policies.retry import RetryOptions
from stanchion.testing import ScriptedProvider, VirtualTimeLoop, chat_answer, chat_stream, virtual_time
from tests.unit.policies.flying import Stand, standing, zero
from tests.unit.policies.reading import cut, down, now, read

ON = CoalesceOptions()
STREAM = chat_stream("a", "b", usage=(5, 2))
WHOLE = b"".join(STREAM)


def task(job: Any) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(job)


async def whole(service: Service, call: Call) -> tuple[bytes, str]:
    reply = await service(call)
    return await read(reply), reply.head.cache


async def slowly(service: Service, pause_s: float, call: Call | None = None) -> tuple[bytes, float]:
    got = b""
    async with await service(call or zero(stream=True)) as reply:
        async for chunk in reply:
            got += chunk.raw
            await asyncio.sleep(pause_s)
    return got, now()


@virtual_time
async def test_what_need_not_have_the_same_answer_flies_by_itself() -> None:
    provider = ScriptedProvider([chat_answer("1")], [chat_answer("2")])
    async with standing(provider, coalesce=ON) as service:
        one, two = task(whole(service, zero(temperature=1))), task(whole(service, zero(temperature=1)))
        assert {await one, await two} == {(chat_answer("1"), ""), (chat_answer("2"), "")}


@virtual_time
async def test_twins_of_a_whole_call_are_one_call() -> None:
    provider = ScriptedProvider([2.0, chat_answer()])
    async with standing(provider, coalesce=ON) as service:
        tasks = [task(whole(service, zero())) for _ in range(5)]
        got = [await each for each in tasks]
    assert got == [(chat_answer(), ""), *[(chat_answer(), "coalesced")] * 4]
    assert (len(provider.calls), service.counted("coalesced")) == (1, 4)


@virtual_time
async def test_a_call_after_the_flight_is_a_flight_of_its_own() -> None:
    provider = ScriptedProvider([chat_answer("1")], [chat_answer("2")])
    async with standing(provider, coalesce=ON) as service:
        assert await whole(service, zero()) == (chat_answer("1"), "")
        assert await whole(service, zero()) == (chat_answer("2"), "")


@virtual_time
async def test_each_reads_at_its_own_pace_and_a_slow_one_stalls_nobody() -> None:
    provider = ScriptedProvider([2.0, STREAM[0], 1.0, *STREAM[1:]])
    async with standing(provider, coalesce=ON) as service:
        fast, slow = task(slowly(service, 0.0)), task(slowly(service, 10.0))
        assert await fast == (WHOLE, 3.0)
        assert await slow == (WHOLE, 2.0 + 10.0 * len(STREAM))
    assert (len(provider.calls), provider.ends) == (1, [End.COMPLETED])


@virtual_time
async def test_one_who_joins_late_reads_from_the_first_chunk_on() -> None:
    provider = ScriptedProvider([STREAM[0], 5.0, *STREAM[1:]])
    async with standing(provider, coalesce=ON) as service:
        first = task(slowly(service, 0.0))
        await asyncio.sleep(4.0)
        reply = await service(zero(stream=True))
        assert (await anext(reply)).raw == STREAM[0]
        assert now() == 4.0
        assert STREAM[0] + await read(reply) == WHOLE == (await first)[0]
        assert reply.usage is not None
    assert len(provider.calls) == 1


@virtual_time
async def test_the_one_who_began_may_leave_and_the_flight_goes_on() -> None:
    provider = ScriptedProvider([STREAM[0], 5.0, *STREAM[1:]])
    async with standing(provider, coalesce=ON, cache=CacheOptions()) as service:
        first = await service(zero(stream=True))
        await anext(first)
        second = task(slowly(service, 0.0))
        await asyncio.sleep(1.0)
        await first.aclose()
        assert await second == (WHOLE, 5.0)
        assert (await whole(service, zero(stream=True))) == (WHOLE, "hit")  # and the answer is kept
    assert provider.ends == [End.COMPLETED]


@virtual_time
async def test_the_one_who_began_may_be_cancelled_before_the_answer_begins() -> None:
    provider = ScriptedProvider([5.0, *STREAM])
    async with standing(provider, coalesce=ON) as service:
        first, second = task(slowly(service, 0.0)), task(slowly(service, 0.0))
        await asyncio.sleep(1.0)
        first.cancel()
        assert await second == (WHOLE, 5.0)
    assert (len(provider.calls), provider.ends) == (1, [End.COMPLETED])


@virtual_time
async def test_the_last_to_leave_ends_the_call_upstream_at_once() -> None:
    provider = ScriptedProvider([STREAM[0], 5.0, *STREAM[1:]], STREAM)
    async with standing(provider, coalesce=ON) as service:
        replies = [await service(zero(stream=True)) for _ in range(3)]
        for reply in replies:
            assert provider.open == 1
            await anext(reply)
            await reply.aclose()
        assert (provider.open, provider.ends, now()) == (0, [End.CANCELLED], 0.0)
        assert replies[2].usage is not None  # what was used until then is known
        assert await whole(service, zero(stream=True)) == (WHOLE, "")  # nobody joins what was ended
    assert len(provider.calls) == 2


@virtual_time
async def test_when_all_are_cancelled_before_the_answer_the_call_upstream_ends() -> None:
    provider = ScriptedProvider([50.0, chat_answer("1")], [chat_answer("2")])
    async with standing(provider, coalesce=ON) as service:
        tasks = [task(whole(service, zero())) for _ in range(3)]
        await asyncio.sleep(1.0)
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)
        assert (provider.open, now()) == (0, 1.0)
        assert await whole(service, zero()) == (chat_answer("2"), "")


@virtual_time
async def test_one_that_is_cancelled_before_its_flight_began_leaves_nothing() -> None:
    provider = ScriptedProvider(forever=STREAM)
    async with standing(provider, coalesce=ON) as service:
        alone = task(slowly(service, 0.0))
        await asyncio.sleep(0)
        alone.cancel()
        await asyncio.wait([alone])
        assert provider.open == 0
        assert await slowly(service, 0.0) == (WHOLE, 0.0)


@virtual_time
async def test_a_failure_before_the_first_chunk_reaches_each_as_an_error_of_its_own() -> None:
    provider = ScriptedProvider([1.0, down()], [chat_answer()])
    async with standing(provider, coalesce=ON) as service:
        tasks = [task(whole(service, zero())) for _ in range(4)]
        await asyncio.wait(tasks)
        errors = [each.exception() for each in tasks]
        assert [(type(each), getattr(each, "retryable", None)) for each in errors] == [(Refused, True)] * 4
        assert len({id(each) for each in errors}) == 4
        assert all(each.__cause__ is errors[0] for each in errors[1:] if each is not None)
        assert await whole(service, zero()) == (chat_answer(), "")
    assert len(provider.calls) == 2


@virtual_time
async def test_a_failure_in_the_middle_is_told_to_each_where_it_happened() -> None:
    provider = ScriptedProvider([*STREAM[:2], 1.0, cut()])
    async with standing(provider, coalesce=ON) as service:
        parts: list[list[bytes]] = [[], []]
        replies = [await service(zero(stream=True)) for _ in parts]
        for reply, part in zip(replies, parts, strict=True):
            with pytest.raises(Cut):
                await read(reply, part)
        assert parts == [STREAM[:2], STREAM[:2]]


@virtual_time
async def test_what_is_nobodys_fault_but_ours_is_told_too() -> None:
    provider = ScriptedProvider(RuntimeError("ours"), [chat_answer()])
    async with standing(provider, coalesce=ON) as service:
        for each in [task(whole(service, zero())) for _ in range(2)]:
            with pytest.raises(RuntimeError, match="ours"):
                await each
        assert await whole(service, zero()) == (chat_answer(), "")
        assert len(service.failures) == 1


@virtual_time
async def test_each_keeps_to_its_own_deadline_the_one_who_began_too() -> None:
    provider = ScriptedProvider([STREAM[0], 50.0, *STREAM[1:]])
    async with standing(provider, coalesce=ON) as service:
        hurried = await service(zero(stream=True, deadline=10.0))
        patient = await service(zero(stream=True, deadline=100.0))
        with pytest.raises(DeadlineExceeded):
            await read(hurried)
        assert now() == 10.0
        assert await read(patient) == WHOLE


@virtual_time
async def test_a_deadline_before_the_answer_begins_ends_the_wait_and_the_lone_call() -> None:
    provider = ScriptedProvider([50.0, chat_answer()])
    async with standing(provider, coalesce=ON) as service:
        with pytest.raises(DeadlineExceeded):
            await service(zero(deadline=10.0))
        assert (now(), provider.open) == (10.0, 0)


@virtual_time
async def test_beyond_the_bound_a_slow_reader_is_waited_for_and_then_cut_off() -> None:
    stream = chat_stream(*["x" * 100] * 50)
    provider = ScriptedProvider(stream)
    most = sum(map(len, stream[:10]))
    async with standing(provider, coalesce=CoalesceOptions(most_bytes=most, slow_most_s=5.0)) as service:
        fast, stuck = task(slowly(service, 0.0)), await service(zero(stream=True))
        await asyncio.sleep(4.0)
        assert provider.open == 1
        assert await fast == (b"".join(stream), 5.0)
        with pytest.raises(Cut) as raised:
            await read(stuck)
        assert raised.value.code == "reader_too_slow"
        assert service.metrics.coalesced_cut.of().value == 1


@virtual_time
async def test_a_reader_that_goes_on_reading_slowly_is_not_cut_off() -> None:
    stream = chat_stream(*["x" * 100] * 20)
    async with standing(ScriptedProvider(stream), coalesce=CoalesceOptions(most_bytes=300)) as service:
        fast, slow = task(slowly(service, 0.0)), task(slowly(service, 4.0))
        assert (await fast)[0] == (await slow)[0] == b"".join(stream)


@virtual_time
async def test_a_reader_alone_is_waited_for_as_long_as_it_stays() -> None:
    stream = chat_stream(*["x" * 100] * 20)
    provider = ScriptedProvider(stream, stream)
    async with standing(provider, coalesce=CoalesceOptions(most_bytes=300)) as service:
        reply = await service(zero(stream=True))
        await asyncio.sleep(1000.0)
        late = task(slowly(service, 0.0))  # it would miss the beginning, so it flies by itself
        assert await read(reply) == b"".join(stream) == (await late)[0]
    assert len(provider.calls) == 2


@virtual_time
async def test_callers_priorities_and_ways_of_asking_do_not_share_a_flight() -> None:
    provider = ScriptedProvider(forever=[2.0, chat_answer()])
    once = {RetryOptions: RetryOptions(attempts=1)}
    calls = [
        zero(),
        zero(caller="other"),
        zero().having(priority="batch"),
        zero().having(options=once),
        zero(wish="no-store"),
        zero(wish="no-cache"),
        zero("other"),
    ]
    async with standing(provider, coalesce=ON) as service:
        tasks = [task(whole(service, call)) for call in calls]
        assert [await each for each in tasks] == [(chat_answer(), "")] * len(calls)
        assert await task(whole(service, zero(wish="max-age=5"))) == (chat_answer(), "")
    assert len(provider.calls) == len(calls) + 1


@virtual_time
async def test_at_shutdown_all_who_wait_are_told() -> None:
    provider, told = ScriptedProvider([99.0, *STREAM]), list[str]()

    async def wait(service: Service) -> None:
        try:
            await service(zero(stream=True))
        except Unavailable as error:
            told.append(str(error))

    async with asyncio.TaskGroup() as group, standing(provider, coalesce=ON) as service:
        group.create_task(wait(service))
        group.create_task(wait(service))
        await asyncio.sleep(1.0)
    assert (told, provider.open) == (["shutting down"] * 2, 0)


class Plan:
    """One reader: when it comes, how fast it reads, when it leaves."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.text = draw(st.sampled_from("ab"))
        self.caller = draw(st.sampled_from(["one", "two"]))
        self.starts_at = draw(st.sampled_from([0.0, 0.0, 1.0, 3.0]))
        self.pause_s = draw(st.sampled_from([0.0, 0.0, 0.5, 30.0]))
        self.reads = draw(st.sampled_from([99, 99, 0, 1, 2]))
        self.leaves_at = draw(st.sampled_from([None, None, None, 0.5, 2.0]))
        self.got: list[bytes] = []
        self.complete = False

    async def read(self, service: Stand) -> None:
        await asyncio.sleep(self.starts_at)
        try:
            async with await service(
                zero(self.text, stream=True, caller=self.caller, deadline=500.0)
            ) as reply:
                for _ in range(self.reads):
                    self.got.append((await anext(reply)).raw)
                    await asyncio.sleep(self.pause_s)
        except StopAsyncIteration:
            self.complete = True
        except Cut:
            pass


@st.composite
def plans(draw: st.DrawFn) -> list[Plan]:
    return [Plan(draw) for _ in range(draw(st.integers(1, 6)))]


@given(plans(), st.sampled_from([100, 400, 10_000]))
@settings(deadline=None, max_examples=150)
def test_whoever_comes_and_goes_each_reads_one_answer_of_its_own_caller(
    wanted: list[Plan], most_bytes: int
) -> None:
    async def run() -> None:
        def stream() -> list[Any]:
            events = chat_stream(*(f"{len(provider.calls)}-{n}" for n in range(6)))
            return [each for event in events for each in (0.5, event)]

        provider = ScriptedProvider(forever=stream)
        async with standing(provider, coalesce=CoalesceOptions(most_bytes=most_bytes)) as service:
            tasks = [task(each.read(service)) for each in wanted]
            for each, running in zip(wanted, tasks, strict=True):
                if each.leaves_at is not None:
                    asyncio.get_running_loop().call_at(each.leaves_at, running.cancel)
            await asyncio.wait(tasks)
            for each in tasks:
                assert each.cancelled() or each.exception() is None
            assert provider.open == 0
            assert all(flown.done() for flown in service.tasks)
        asked = {
            b"".join(chat_stream(*(f"{number + 1}-{n}" for n in range(6)))): call
            for number, call in enumerate(provider.calls)
        }
        for each in wanted:
            got = b"".join(each.got)
            if each.complete:
                assert (asked[got].caller, asked[got].body.fields["messages"][0]["content"]) == (
                    each.caller,
                    each.text,
                )
            elif len(each.got) > 1:
                assert any(raw.startswith(got) and call.caller == each.caller for raw, call in asked.items())

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())
