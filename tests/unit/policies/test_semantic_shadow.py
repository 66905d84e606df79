"""The semantic cache in shadow mode: nobody is answered by it, and its figures tell what would have been."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stanchion.policies.cache import CacheOptions
from stanchion.testing import ScriptedProvider, chat_answer, chat_stream, virtual_time
from tests.unit.policies.flying import zero
from tests.unit.policies.knowing import SHADOW, Knowing, knowing, settled
from tests.unit.policies.reading import down, read

ANGLES = {"hi": 0.0, "hello": 10.0, "weather?": 80.0}


async def said(service: Knowing, text: str, *, stream: bool = False) -> str:
    reply = await service(zero(text, stream=stream))
    await read(reply)
    await settled()
    return reply.head.cache


def spread(service: Knowing, name: str) -> dict[tuple[str, ...], tuple[int, float]]:
    """Return how many observations there are by label, and their sum."""
    found = getattr(service.metrics, name)._by_label
    return {labels: (sum(each.counts), round(each.total, 3)) for labels, each in found.items()}


@virtual_time
async def test_nobody_is_answered_by_it_and_what_would_have_been_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    provider = ScriptedProvider(*([chat_answer(each)] for each in ("It is warm.", "It is warm.", "No.")))
    async with knowing(provider, ANGLES, SHADOW) as service:
        assert [await said(service, text) for text in ("hi", "hello", "weather?")] == ["miss"] * 3
        assert [service.counted(each, "shadow") for each in ("none", "hit", "far")] == [1, 1, 1]
        assert spread(service, "semantic_similarity") == {("hit",): (1, 0.985), ("far",): (1, 0.342)}
        assert spread(service, "semantic_agreement") == {("0.98",): (1, 1.0), ("0.0",): (1, 0.0)}
    lines = [each for each in caplog.records if each.getMessage() == "semantic_cache.shadow"]
    assert len(lines) == 2
    told = repr([vars(line) for line in lines])
    assert not any(word in told for word in ("warm", "hello", "weather?"))


@virtual_time
async def test_a_call_waits_for_no_embedding() -> None:
    provider = ScriptedProvider([chat_answer("a")])
    async with knowing(provider, ANGLES, SHADOW) as service:
        reply = await service(zero("hi"))
        assert service.embedded == []
        await read(reply)
        await settled()
        assert service.embedded == ["hi"]


@virtual_time
async def test_streams_are_judged_by_their_text() -> None:
    provider = ScriptedProvider(chat_stream("It ", "is warm."), chat_stream("It is", " warm."))
    async with knowing(provider, ANGLES, SHADOW) as service:
        for text in ("hi", "hello"):
            await said(service, text, stream=True)
        assert spread(service, "semantic_agreement") == {("0.98",): (1, 1.0)}


@virtual_time
async def test_a_question_that_came_while_the_other_was_answered_would_not_have_been() -> None:
    provider = ScriptedProvider([1.0, chat_answer("a")], [3.0, chat_answer("b")])
    async with knowing(provider, ANGLES, SHADOW) as service:
        async with asyncio.TaskGroup() as group:
            for text in ("hi", "hello"):
                group.create_task(said(service, text))
        assert (service.counted("none", "shadow"), service.counted("hit", "shadow")) == (2, 0)


@virtual_time
async def test_what_failed_or_was_not_kept_is_not_judged() -> None:
    provider = ScriptedProvider([chat_answer("a")], down(), [chat_answer("much too long")])
    cache = CacheOptions(entry_most_bytes=len(chat_answer("a")))
    async with knowing(provider, ANGLES, SHADOW, cache) as service:
        await said(service, "hi")
        with pytest.raises(Exception, match="down"):
            await said(service, "hello")
        await said(service, "hello")
        assert service.embedded == ["hi"]
