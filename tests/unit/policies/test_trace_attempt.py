"""Trace: every attempt is in the call's trail, with its end."""

from __future__ import annotations

import asyncio

import pytest

from stanchion.core.errors import Cut, StanchionError
from stanchion.core.service import Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.trace_attempt import TraceAttempt
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import answer, busy, cut, read, silent


def traced(*script, metrics: Metrics | None = None) -> Service:
    return stack(TraceAttempt("a/m", "m", metrics or Metrics()), service=ScriptedProvider(*script))


@virtual_time
async def test_an_answer_passes_through_and_its_attempt_is_noted() -> None:
    metrics, call = Metrics(), chat_call(stream=True)
    await asyncio.sleep(3.0)
    reply = await traced([2.0, *chat_stream("a")], metrics=metrics)(call)
    (attempt,) = call.trail.attempts
    assert (attempt.outcome, attempt.ended_at) == ("open", None)
    await read(reply)
    assert (attempt.endpoint, attempt.model, attempt.started_at, attempt.ended_at) == ("a/m", "m", 3.0, 5.0)
    assert (attempt.outcome, attempt.status, attempt.code) == ("completed", 200, None)
    assert metrics.attempts.of("a/m", "completed", "").value == 1


@virtual_time
async def test_an_error_is_noted_with_what_is_known_of_it() -> None:
    call = chat_call()
    for error, status, sent in ((busy(), 429, "answered"), (silent(), None, "no_answer")):
        with pytest.raises(StanchionError):
            await traced(error)(call)
        attempt = call.trail.attempts[-1]
        assert (attempt.outcome, attempt.status, attempt.sent, attempt.code) == (
            "failed",
            status,
            sent,
            error.code,
        )


@virtual_time
async def test_an_answer_that_was_cut_keeps_its_status() -> None:
    call, metrics = chat_call(stream=True), Metrics()
    with pytest.raises(Cut):
        await read(await traced([*chat_stream("a")[:1], 1.0, cut()], metrics=metrics)(call))
    attempt = call.trail.attempts[0]
    assert (attempt.outcome, attempt.status, attempt.code, attempt.ended_at) == (
        "failed",
        200,
        "upstream_cut",
        1.0,
    )
    assert metrics.attempts.of("a/m", "failed", "Cut").value == 1


@virtual_time
async def test_who_leaves_before_and_after_the_first_chunk_is_noted() -> None:
    call = chat_call(stream=True)
    async with await traced(chat_stream("a"))(call) as reply:
        await anext(reply)
    whole = chat_call()
    task = asyncio.get_running_loop().create_task(answer(traced([9.0, chat_answer()]), whole))
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.wait([task])
    assert [each.trail.attempts[0].outcome for each in (call, whole)] == ["cancelled", "cancelled"]


@virtual_time
async def test_what_is_nobodys_fault_but_ours_is_noted_as_failed() -> None:
    call = chat_call()
    with pytest.raises(RuntimeError):
        await traced(RuntimeError("ours"))(call)
    assert (call.trail.attempts[0].outcome, call.trail.attempts[0].code) == ("failed", None)
