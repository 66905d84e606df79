"""Record: every call is counted once, whatever happens to it, and its line holds no content."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stanchion.core.errors import Refused
from stanchion.core.reply import Head, Reply
from stanchion.core.service import Service, stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.record import Record
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import answer, cut, down, now, read

CHAT = "chat/completions"


def recorded(*script, metrics: Metrics) -> Service:
    return stack(Record(metrics), service=ScriptedProvider(*script))


def counts(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return {labels[1:]: tally.value for labels, tally in metrics.calls._by_label.items() if tally.value}


@virtual_time
async def test_an_answer_passes_through_and_is_counted_when_it_is_read() -> None:
    metrics = Metrics()
    reply = await recorded([1.0, *chat_stream("a", usage=(10, 3))], metrics=metrics)(chat_call(stream=True))
    assert (metrics.calls_open.of().value, counts(metrics)) == (1, {})
    assert await read(reply) == b"".join(chat_stream("a", usage=(10, 3)))
    assert (metrics.calls_open.of().value, counts(metrics)) == (0, {("completed", ""): 1})
    assert metrics.call_seconds.of(CHAT).total == 1.0
    assert metrics.first_chunk_seconds.of(CHAT).total == 1.0
    assert metrics.tokens.of("input", "false").value == 10
    assert metrics.tokens.of("output", "false").value == 3


@virtual_time
async def test_an_error_before_and_after_the_first_chunk_is_counted_by_its_kind() -> None:
    metrics = Metrics()
    service = recorded(down(), [*chat_stream("a")[:2], 2.0, cut()], RuntimeError("ours"), metrics=metrics)
    with pytest.raises(Refused):
        await service(chat_call())
    with pytest.raises(Exception, match="cut"):
        await read(await service(chat_call(stream=True)))
    with pytest.raises(RuntimeError):
        await service(chat_call())
    assert counts(metrics) == {
        ("failed", "Refused"): 1,
        ("failed", "Cut"): 1,
        ("failed", "internal_error"): 1,
    }
    assert metrics.calls_open.of().value == 0
    assert metrics.tokens.of("output", "true").value == 1  # estimated, for what came


@virtual_time
async def test_a_call_that_is_cancelled_and_a_reader_that_leaves_are_counted() -> None:
    metrics = Metrics()
    service = recorded([9.0, *chat_stream("a")], chat_stream("a"), [9.0, chat_answer()], metrics=metrics)
    async with await service(chat_call(stream=True)):
        pass
    async with await service(chat_call(stream=True)) as reply:
        await anext(reply)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(answer(service, chat_call()))
        await asyncio.sleep(1.0)
        task.cancel()
    assert (counts(metrics), metrics.calls_open.of().value) == ({("cancelled", ""): 3}, 0)


@virtual_time
async def test_an_answer_without_a_chunk_is_counted_too() -> None:
    async def empty(call, /) -> Reply:
        reply = Reply(Head(), ScriptedReply())
        await reply.first()
        return reply

    metrics = Metrics()
    assert await read(await stack(Record(metrics), service=empty)(chat_call())) == b""
    assert (counts(metrics), metrics.calls_open.of().value) == ({("completed", ""): 1}, 0)


class ScriptedReply:
    async def __anext__(self):
        raise StopAsyncIteration

    async def aclose(self) -> None: ...


@virtual_time
async def test_one_line_a_call_with_everything_but_content(caplog: pytest.LogCaptureFixture) -> None:
    call = chat_call("secret prompt", stream=True)
    with caplog.at_level(logging.INFO, "stanchion.calls"):
        metrics = Metrics()
        await read(await recorded([0.5, *chat_stream("secret answer", usage=(10, 3))], metrics=metrics)(call))
    (line,) = caplog.records
    facts = vars(line)["facts"]
    assert (line.message, now()) == ("call.ended", 0.5)
    assert (facts["id"], facts["outcome"], facts["endpoint"]) == (call.id, "completed", "scripted/m")
    assert (facts["seconds"], facts["first_chunk_s"], facts["prompt_tokens"], facts["completion_tokens"]) == (
        0.5,
        0.5,
        10,
        3,
    )
    assert "secret" not in repr(vars(line))


@virtual_time
async def test_labels_are_of_our_own_making_and_never_the_providers() -> None:
    metrics, error = Metrics(), down()
    error.code = "whatever-the-provider-says"
    with pytest.raises(Refused):
        await recorded(error, metrics=metrics)(chat_call(model="made-up-by-a-caller"))
    labels = [label for key in metrics.calls._by_label for label in key]
    assert "whatever-the-provider-says" not in labels
    assert "made-up-by-a-caller" not in labels
