"""The semantic cache: what is answered by what is near, what never is, and what a caller may say about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.call import Body, Call, Operation, json_call
from stanchion.core.errors import Cut, NotCached, Refused
from stanchion.policies.cache import CacheOptions
from stanchion.policies.semantic_cache import SemanticCacheOptions
from stanchion.testing import ScriptedProvider, VirtualTimeLoop, chat_answer, chat_stream, virtual_time
from tests.unit.policies.flying import zero
from tests.unit.policies.knowing import Knowing, knowing, settled
from tests.unit.policies.reading import cut, down, read

ANGLES = {"hi": 0.0, "hello": 10.0, "hey": 20.0, "weather?": 80.0}  # 10 degrees apart is 0.985
STREAM = chat_stream("a", "b", usage=(5, 2))


def answers() -> ScriptedProvider:
    return ScriptedProvider(*([chat_answer(str(number))] for number in range(9)))


async def said(service: Knowing, call: Call) -> tuple[bytes, str]:
    reply = await service(call)
    raw = await read(reply)
    await settled()
    return raw, reply.head.cache


@virtual_time
async def test_a_question_that_is_near_gets_the_answer_that_is_kept() -> None:
    provider = answers()
    async with knowing(provider, ANGLES) as service:
        assert await said(service, zero("hi")) == (chat_answer("0"), "miss")
        reply = await service(zero("hello"))
        assert (reply.head.cache, reply.head.cached, reply.head.endpoint) == ("semantic", True, "scripted/m")
        assert reply.head.similarity == pytest.approx(0.9848, abs=1e-4)
        assert await read(reply) == chat_answer("0")
        assert (service.counted("hit"), service.counted("none")) == (1, 1)
        assert service.metrics.cache_calls.of("semantic").value == 1
    assert len(provider.calls) == 1


@virtual_time
async def test_a_question_that_is_far_passes_through() -> None:
    async with knowing(answers(), ANGLES) as service:
        await said(service, zero("hi"))
        assert await said(service, zero("weather?")) == (chat_answer("1"), "miss")
        assert (service.counted("far"), service.counted("hit")) == (1, 0)


@virtual_time
async def test_a_stream_is_replayed_as_a_stream_and_answers_no_whole_call() -> None:
    provider = ScriptedProvider(STREAM, [chat_answer("1")])
    async with knowing(provider, ANGLES) as service:
        await said(service, zero("hi", stream=True))
        reply = await service(zero("hello", stream=True))
        assert (reply.head.cache, reply.head.media_type) == ("semantic", "text/event-stream")
        assert await read(reply) == b"".join(STREAM)
        assert (await said(service, zero("hello")))[1] == "miss"


@virtual_time
async def test_a_failure_before_the_answer_is_nothing_to_give() -> None:
    async with knowing(ScriptedProvider(down(), [chat_answer("1")]), ANGLES) as service:
        with pytest.raises(Refused):
            await service(zero("hi"))
        await settled()
        assert len(service.known) == 0
        assert await said(service, zero("hello")) == (chat_answer("1"), "miss")


@virtual_time
async def test_an_answer_that_is_cut_or_left_is_nothing_to_give() -> None:
    provider = ScriptedProvider([*STREAM[:2], cut()], [STREAM[0], 5.0, *STREAM[1:]], STREAM)
    async with knowing(provider, ANGLES) as service:
        with pytest.raises(Cut):
            await read(await service(zero("hi", stream=True)))
        async with await service(zero("hi", stream=True)) as reply:
            await anext(reply)
        await settled()
        assert len(service.known) == 0
        assert (await said(service, zero("hello", stream=True)))[1] == "miss"


@virtual_time
async def test_a_call_that_is_cancelled_while_it_is_embedded_asks_nobody() -> None:
    provider = answers()
    async with knowing(provider, ANGLES) as service:
        await said(service, zero("hi"))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(service(zero("weather?")))
            await asyncio.sleep(0)
            task.cancel()
        assert task.cancelled()
    assert len(provider.calls) == 1


@virtual_time
async def test_twins_are_embedded_once_and_share_the_call_to_the_provider() -> None:
    provider = ScriptedProvider([chat_answer("0")], [1.0, chat_answer("1")])
    async with knowing(provider, ANGLES) as service:
        await said(service, zero("hi"))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(said(service, zero("weather?"))) for _ in range(20)]
        assert {task.result()[0] for task in tasks} == {chat_answer("1")}
        assert service.embedded == ["hi", "weather?"]
        assert (service.counted("twin"), service.counted("far")) == (19, 1)
        assert len(service.known) == 2
    assert len(provider.calls) == 2


@virtual_time
async def test_twins_of_a_new_kind_of_question_are_embedded_once_too() -> None:
    provider = ScriptedProvider([1.0, STREAM[0], 2.0, *STREAM[1:]])
    async with knowing(provider, ANGLES) as service:

        async def slow(pause_s: float) -> None:
            async with await service(zero("hi", stream=True)) as reply:
                async for _ in reply:
                    await asyncio.sleep(pause_s)

        async with asyncio.TaskGroup() as group:
            for pause_s in (0.0, 0.0, 1.0, 2.0):
                group.create_task(slow(pause_s))
        await settled()
        assert service.embedded == ["hi"]


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"caller": "other"},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"max_tokens": 9},
        {"model": "m2"},
        {"messages": [{"role": "system", "content": "Be rude."}, {"role": "user", "content": "hello"}]},
        {"messages": [{"role": "user", "name": "Ann", "content": "hello"}]},
    ],
)
@virtual_time
async def test_where_anything_but_the_last_text_differs_nothing_is_given(other: dict[str, Any]) -> None:
    async with knowing(answers(), ANGLES) as service:
        await said(service, zero("hi"))
        assert (await said(service, zero("hello", **other)))[1] == "miss"


@virtual_time
async def test_the_same_system_text_may_stand_before() -> None:
    def call(text: str) -> Call:
        return zero(messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}])

    async with knowing(answers(), ANGLES) as service:
        assert [(await said(service, call(text)))[1] for text in ("hi", "hello")] == ["miss", "semantic"]


@pytest.mark.parametrize(
    ("one", "other"), [("for 2 people", "for 3 people"), ("Go to Rome", "Go to Oslo"), ("is on", "is not on")]
)
@virtual_time
async def test_other_figures_names_or_negations_are_another_question(one: str, other: str) -> None:
    async with knowing(answers(), {one: 0.0, other: 0.0}) as service:
        assert [(await said(service, zero(text)))[1] for text in (one, other)] == ["miss", "miss"]


@virtual_time
async def test_a_conversation_is_answered_so_only_where_it_asks() -> None:
    def call(text: str, wish: str | None) -> Call:
        before = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]
        return zero(messages=[*before, {"role": "user", "content": text}], wish=wish)

    for wish, second in ((None, "miss"), ("max-age=60", "semantic")):
        async with knowing(answers(), ANGLES) as service:
            assert [(await said(service, call(text, wish)))[1] for text in ("hi", "hello")] == [
                "miss",
                second,
            ]


def _parts(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "input_text", "text": text}]}]


@pytest.mark.parametrize("form", [str, _parts])
@virtual_time
async def test_the_responses_api_is_understood(form: Callable[[str], Any]) -> None:
    def call(text: str) -> Call:
        fields = {"model": "m", "input": form(text), "temperature": 0, "store": False}
        return json_call(Operation.RESPONSES, Body(fields))

    answer = b'{"object":"response","status":"completed","output":[]}'
    async with knowing(ScriptedProvider([answer]), ANGLES) as service:
        assert [(await said(service, call(text)))[1] for text in ("hi", "hello")] == ["miss", "semantic"]


@virtual_time
async def test_what_a_caller_says_of_kept_answers_is_followed() -> None:
    async with knowing(answers(), ANGLES) as service:
        await said(service, zero("hi"))
        assert (await said(service, zero("hello", wish="only-if-cached")))[1] == "semantic"
        assert (await said(service, zero("hello", wish="no-store")))[1] == ""
        with pytest.raises(NotCached):
            await service(zero("weather?", wish="only-if-cached"))
        await asyncio.sleep(30.0)
        with pytest.raises(NotCached):
            await service(zero("hello", wish="only-if-cached, max-age=29"))
        assert (await said(service, zero("hello", wish="exact")))[1] == "miss"
        assert (await said(service, zero("hey", wish="no-cache")))[1] == "miss"


@virtual_time
async def test_a_call_without_an_embedding_goes_on_without() -> None:
    async with knowing(answers(), {"hi": 0.0}) as service:
        await said(service, zero("hi"))
        assert await said(service, zero("hello")) == (chat_answer("1"), "miss")
        assert service.counted("not_embedded") == 2  # before, and to note it afterwards


@virtual_time
async def test_a_text_that_is_long_or_none_is_not_embedded() -> None:
    options = SemanticCacheOptions(mode="on", text_most_chars=4)
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    async with knowing(answers(), ANGLES, options) as service:
        for text in ("hello", "", " ", [picture], [{"type": "text", "text": "hi"}, picture], None):
            await said(service, zero(messages=[{"role": "user", "content": text}]))
        await said(service, zero(messages=[{"role": "assistant", "content": "hi"}]))
        await said(service, zero(messages=[]))
    assert service.embedded == []


@virtual_time
async def test_a_question_is_known_for_its_life() -> None:
    options = SemanticCacheOptions(mode="on", threshold=0.9, life_s=60.0)
    async with knowing(answers(), ANGLES, options) as service:
        await said(service, zero("hi"))
        await asyncio.sleep(59.0)
        assert (await said(service, zero("hello")))[1] == "semantic"
        await asyncio.sleep(1.5)
        assert (await said(service, zero("hello")))[1] == "miss"


@virtual_time
async def test_a_question_whose_answer_is_gone_is_forgotten() -> None:
    async with knowing(answers(), ANGLES, cache=CacheOptions(life_s=60.0)) as service:
        await said(service, zero("hi"))
        await asyncio.sleep(61.0)
        assert (await said(service, zero("hello")))[1] == "miss"
        assert len(service.known) == 1  # the new one


@virtual_time
async def test_an_answer_that_was_given_so_does_not_spread() -> None:
    async with knowing(answers(), {"a": 0.0, "b": 20.0, "c": 40.0}) as service:
        got = [(await said(service, zero(text)))[1] for text in "abc"]
    assert got == ["miss", "semantic", "miss"]  # c is near b, and b was never answered for itself


asked = st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "one", "two"]), st.booleans())


@given(st.lists(asked, max_size=14))
@settings(deadline=None, max_examples=60)
def test_two_tenants_never_share_an_answer(wanted: list[tuple[str, str, bool]]) -> None:
    async def run() -> None:
        whose = dict[bytes, tuple[str, bool]]()
        next_one = iter(range(99))

        def answer() -> list[bytes]:
            name = str(next(next_one))
            return chat_stream(name) if provider.calls[-1].stream else [chat_answer(name)]

        provider = ScriptedProvider(forever=answer)
        async with knowing(provider, dict.fromkeys("abc", 0.0)) as service:
            for text, caller, stream in wanted:
                raw, _ = await said(service, zero(text, caller=caller, stream=stream))
                assert whose.setdefault(raw, (caller, stream)) == (caller, stream)
        assert len(provider.calls) == len({(caller, stream) for _, caller, stream in wanted})

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())
