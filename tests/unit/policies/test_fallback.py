"""Fallback: the next target where another may answer; the first error where none can."""

from __future__ import annotations

import asyncio

import pytest

from stanchion.core.call import Call
from stanchion.core.errors import Cut, DeadlineExceeded, Refused, StanchionError, Unavailable, UnknownModel
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.fallback import Fallback
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import answer, cut, dead, down, now, read, silent, wrong


def chain(metrics: Metrics | None = None, **targets: ScriptedProvider) -> Service:
    async def ask(call: Call, /) -> Reply:
        reply = await targets[call.target](call)
        await reply.first()
        return reply

    return stack(Fallback(lambda call: list(targets), metrics or Metrics()), service=ask)


@virtual_time
async def test_the_first_target_answers_and_no_other_is_asked() -> None:
    a, b = ScriptedProvider(chat_stream("x")), ScriptedProvider()
    metrics = Metrics()
    assert await read(await chain(metrics, a=a, b=b)(chat_call(stream=True))) == b"".join(chat_stream("x"))
    assert ([(c.target, c.last_target) for c in a.calls], b.calls) == ([("a", False)], [])
    assert metrics.fallbacks.of().value == 0


@virtual_time
async def test_a_lone_target_is_the_last_one() -> None:
    a = ScriptedProvider([chat_answer()])
    await read(await chain(a=a)(chat_call()))
    assert [(c.target, c.last_target) for c in a.calls] == [("a", True)]


@pytest.mark.parametrize("error", [down, dead, silent, cut, lambda: Unavailable("resting")])
def test_an_error_before_the_first_chunk_goes_to_the_next(error) -> None:
    @virtual_time
    async def run() -> None:
        metrics = Metrics()
        a, b, c = (
            ScriptedProvider(error()),
            ScriptedProvider([1.0, error()]),
            ScriptedProvider(chat_stream("x")),
        )
        reply = await chain(metrics, a=a, b=b, c=c)(chat_call(stream=True))
        await read(reply)
        assert [(call.target, call.last_target) for each in (a, b, c) for call in each.calls] == [
            ("a", False),
            ("b", False),
            ("c", True),
        ]
        assert metrics.fallbacks.of().value == 2
        assert (a.open, b.open, c.open, now()) == (0, 0, 0, 1.0)

    run()


@virtual_time
async def test_when_all_fail_the_first_error_is_raised_and_the_others_are_noted() -> None:
    a, b, c = ScriptedProvider(down()), ScriptedProvider(dead()), ScriptedProvider(silent())
    metrics = Metrics()
    with pytest.raises(Refused, match="down") as raised:
        await chain(metrics, a=a, b=b, c=c)(chat_call())
    assert raised.value.__notes__ == ["then b failed too: no money", "then c failed too: no answer"]
    assert metrics.fallbacks.of().value == 2


@virtual_time
async def test_what_a_fallback_refuses_never_masks_the_first_error() -> None:
    a, b = ScriptedProvider(down()), ScriptedProvider(wrong())
    with pytest.raises(Refused, match="down") as raised:
        await chain(a=a, b=b)(chat_call())
    assert raised.value.status == 503


@virtual_time
async def test_the_callers_fault_and_the_calls_own_time_go_to_no_other() -> None:
    for error in (wrong(), DeadlineExceeded("over")):
        a, b = ScriptedProvider(error), ScriptedProvider()
        with pytest.raises(StanchionError) as raised:
            await chain(a=a, b=b)(chat_call())
        assert raised.value is error
        assert b.calls == []


@virtual_time
async def test_an_error_after_the_first_chunk_is_the_readers() -> None:
    begin = chat_stream("x")[:2]
    a, b, got = ScriptedProvider([*begin, cut()]), ScriptedProvider(), list[bytes]()
    with pytest.raises(Cut):
        await read(await chain(a=a, b=b)(chat_call(stream=True)), got)
    assert (got, b.calls) == (begin, [])


@virtual_time
async def test_a_model_nobody_serves_is_raised_before_anybody_is_asked() -> None:
    def route(call: Call) -> list[str]:
        raise UnknownModel("no route")

    with pytest.raises(UnknownModel):
        await stack(Fallback(route, Metrics()), service=ScriptedProvider())(chat_call())


@virtual_time
async def test_a_call_that_is_cancelled_goes_to_no_other() -> None:
    a, b = ScriptedProvider([9.0, *chat_stream("x")]), ScriptedProvider()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(answer(chain(a=a, b=b), chat_call(stream=True)))
        await asyncio.sleep(1.0)
        task.cancel()
    assert (a.ends, a.open, b.calls) == ([End.CANCELLED], 0, [])


@virtual_time
async def test_a_reader_that_leaves_early_closes_the_fallbacks_stream() -> None:
    a, b = ScriptedProvider(down()), ScriptedProvider(chat_stream("x"))
    async with await chain(a=a, b=b)(chat_call(stream=True)) as reply:
        await anext(reply)
    assert (b.ends, b.open) == ([End.CANCELLED], 0)
