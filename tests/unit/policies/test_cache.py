"""The exact cache: what is replayed and how, what is never kept, and what a caller may say about it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.call import Body, Call, Operation
from stanchion.core.errors import Cut, DeadlineExceeded, InvalidCall, NotCached, Refused
from stanchion.core.reply import End
from stanchion.policies.cache import CacheOptions
from stanchion.rules.cache_control import CacheAsked, read_cache_control
from stanchion.rules.cache_key import Home, cache_key
from stanchion.testing import ScriptedProvider, VirtualTimeLoop, chat_answer, chat_stream, virtual_time
from tests.unit.policies.flying import HOME, standing, zero
from tests.unit.policies.reading import cut, down, now, read

STREAM = chat_stream("a", "b", usage=(5, 2))
WHOLE = b"".join(STREAM)
ON = CacheOptions()


def answers(most: int = 9) -> ScriptedProvider:
    return ScriptedProvider(*([chat_answer(str(number))] for number in range(most)))


@virtual_time
async def test_the_same_call_is_answered_once_by_the_provider_and_then_by_the_cache() -> None:
    async with standing(answers(), cache=ON) as service:
        heads = list[tuple[str, bool, str]]()
        for _ in range(3):
            reply = await service(zero())
            assert await read(reply) == chat_answer("0")
            heads.append((reply.head.cache, reply.head.cached, reply.head.endpoint))
            assert reply.usage is not None
            assert reply.usage.total_tokens == 7
    assert heads == [("miss", False, "scripted/m"), ("hit", True, "scripted/m"), ("hit", True, "scripted/m")]
    assert (service.counted("hit"), service.counted("miss")) == (2, 1)


@virtual_time
async def test_a_stream_is_replayed_as_a_stream_at_once() -> None:
    provider = ScriptedProvider([1.0, STREAM[0], 3.0, *STREAM[1:]])
    async with standing(provider, cache=ON) as service:
        assert await read(await service(zero(stream=True))) == WHOLE
        assert now() == 4.0
        again = await service(zero(stream=True))
        assert await read(again) == WHOLE
        assert (now(), again.head.cache, again.head.media_type) == (4.0, "hit", "text/event-stream")
        assert again.usage is not None
    assert len(provider.calls) == 1


@virtual_time
async def test_a_stream_is_replayed_with_its_pauses_where_that_is_wanted() -> None:
    provider, came = ScriptedProvider([7.0, STREAM[0], 3.0, STREAM[1], 4.0, *STREAM[2:]]), list[float]()
    async with standing(provider, cache=CacheOptions(replay="as_it_came")) as service:
        await read(await service(zero(stream=True)))
        begun_at, got = now(), list[bytes]()
        async with await service(zero(stream=True)) as reply:
            async for chunk in reply:
                came.append(now() - begun_at)
                got.append(chunk.raw)
        assert (came, got) == (
            [0.0, 3.0, *[7.0] * (len(STREAM) - 2)],
            STREAM,
        )  # not the wait before the first
        with pytest.raises(DeadlineExceeded):
            await read(await service(zero(stream=True, deadline=now() + 5.0)))


@virtual_time
async def test_what_need_not_have_the_same_answer_passes_through_unless_it_asks() -> None:
    async with standing(answers(), cache=ON) as service:
        for number in range(2):
            reply = await service(zero(temperature=1))
            assert await read(reply) == chat_answer(str(number))
            assert reply.head.cache == ""
        asked = [await read(await service(zero(temperature=1, wish="max-age=60"))) for _ in range(2)]
    assert asked == [chat_answer("2")] * 2


@virtual_time
async def test_only_what_asks_is_kept_where_the_settings_say_so() -> None:
    async with standing(answers(), cache=CacheOptions(use="asked")) as service:
        plain = [await read(await service(zero())) for _ in range(2)]
        asked = [await read(await service(zero(wish="max-age=60"))) for _ in range(2)]
    assert (plain, asked) == ([chat_answer("0"), chat_answer("1")], [chat_answer("2")] * 2)


@virtual_time
async def test_a_cache_that_is_off_keeps_nothing() -> None:
    async with standing(answers(), cache=CacheOptions(use="off")) as service:
        got = [await read(await service(zero(wish="max-age=60"))) for _ in range(2)]
        assert service.store.memory.size == 0
    assert got == [chat_answer("0"), chat_answer("1")]


@virtual_time
async def test_no_store_neither_looks_nor_keeps() -> None:
    async with standing(answers(), cache=ON) as service:
        wishes = ["no-store", None, "no-store", None]
        got = [await read(await service(zero(wish=wish))) for wish in wishes]
    assert got == [chat_answer(each) for each in "0121"]


@virtual_time
async def test_no_cache_asks_anew_and_keeps_the_new_answer() -> None:
    async with standing(answers(), cache=ON) as service:
        wishes = [None, "no-cache", None, "max-age=0", None]
        got = [await read(await service(zero(wish=wish))) for wish in wishes]
    assert got == [chat_answer(each) for each in "01122"]


@virtual_time
async def test_an_answer_that_is_older_than_the_caller_wants_is_asked_for_anew() -> None:
    async with standing(answers(), cache=ON) as service:
        await read(await service(zero()))
        await asyncio.sleep(30.0)
        young = await read(await service(zero(wish="max-age=30")))
        await asyncio.sleep(0.5)
        old = await read(await service(zero(wish="max-age=30")))
    assert (young, old) == (chat_answer("0"), chat_answer("1"))


@virtual_time
async def test_an_answer_is_forgotten_after_its_life() -> None:
    async with standing(answers(), cache=CacheOptions(life_s=60.0)) as service:
        got = list[bytes]()
        for wait_s in (0.0, 59.0, 1.0):
            await asyncio.sleep(wait_s)
            got.append(await read(await service(zero())))
    assert got == [chat_answer(each) for each in "001"]


@virtual_time
async def test_only_if_cached_is_refused_where_nothing_fits() -> None:
    provider = answers()
    async with standing(provider, cache=ON) as service:
        with pytest.raises(NotCached) as raised:
            await service(zero(wish="only-if-cached"))
        assert raised.value.status == 504
        await read(await service(zero()))
        assert await read(await service(zero(wish="only-if-cached"))) == chat_answer("0")
        await asyncio.sleep(9.0)
        with pytest.raises(NotCached):
            await service(zero(wish="only-if-cached, max-age=5"))
        background = zero(wish="only-if-cached").having(operation=Operation.MODELS)
        with pytest.raises(NotCached):
            await service(background)  # what is never kept is never there
    assert len(provider.calls) == 1


@virtual_time
async def test_a_failure_before_the_answer_is_not_kept() -> None:
    provider = ScriptedProvider(down(), [chat_answer("1")])
    async with standing(provider, cache=ON) as service:
        with pytest.raises(Refused):
            await service(zero())
        assert await read(await service(zero())) == chat_answer("1")


@virtual_time
async def test_a_stream_that_is_cut_is_not_kept() -> None:
    provider = ScriptedProvider([*STREAM[:2], cut()], [*STREAM[:3]], STREAM)
    async with standing(provider, cache=ON) as service:
        for _ in range(2):
            with pytest.raises(Cut):
                await read(await service(zero(stream=True)))
        assert service.store.memory.size == 0
        assert await read(await service(zero(stream=True))) == WHOLE


@virtual_time
async def test_a_stream_that_is_left_early_is_not_kept() -> None:
    provider = ScriptedProvider([STREAM[0], 5.0, *STREAM[1:]], STREAM)
    async with standing(provider, cache=ON) as service:
        async with await service(zero(stream=True)) as reply:
            await anext(reply)
        assert (service.store.memory.size, provider.ends) == (0, [End.CANCELLED])
        assert await read(await service(zero(stream=True))) == WHOLE


@virtual_time
async def test_an_answer_that_is_too_long_is_passed_on_and_not_kept() -> None:
    provider = ScriptedProvider(STREAM, STREAM)
    async with standing(provider, cache=CacheOptions(entry_most_bytes=len(WHOLE) - 1)) as service:
        for _ in range(2):
            assert await read(await service(zero(stream=True))) == WHOLE
    assert len(provider.calls) == 2


@virtual_time
async def test_an_answer_of_a_fallback_is_not_kept() -> None:
    async with standing(answers(), cache=ON, home=Home(("a",), frozenset({"other/m"}))) as service:
        got = [await read(await service(zero())) for _ in range(2)]
    assert got == [chat_answer("0"), chat_answer("1")]


@virtual_time
async def test_a_response_that_says_it_is_not_complete_is_not_kept() -> None:
    def response(status: str) -> bytes:
        return msgspec.json.encode({"id": "r", "object": "response", "status": status, "output": []})

    provider = ScriptedProvider(*([response(each)] for each in ("failed", "incomplete", "completed")))
    call = Call(
        operation=Operation.RESPONSES,
        body=Body({"model": "m", "input": "hi", "temperature": 0, "store": False}),
        model="m",
    )
    async with standing(provider, cache=ON) as service:
        got = [await read(await service(call)) for _ in range(4)]
    assert got == [response(each) for each in ("failed", "incomplete", "completed", "completed")]


@virtual_time
async def test_an_entry_that_cannot_be_read_is_a_miss() -> None:
    async with standing(answers(), cache=ON) as service:
        await read(await service(zero()))
        key = cache_key(zero(), HOME.targets)
        for spoiled in (b"", b"\x91\x02", b"\xff\xfe"):
            service.store.keep(key, spoiled, 60.0)
            await read(await service(zero()))
    assert service.counted("miss") == 4


calls = st.tuples(
    st.sampled_from(["a", "b"]), st.sampled_from(["", "one", "two"]), st.booleans(), st.sampled_from([0, 0.0])
)


@given(st.lists(calls, max_size=12))
@settings(deadline=None, max_examples=50)
def test_two_callers_never_share_an_answer(wanted: list[tuple[str, str, bool, float]]) -> None:
    async def run() -> None:
        came = dict[Any, bytes]()
        script = [chat_stream(str(n)) if each[2] else [chat_answer(str(n))] for n, each in enumerate(wanted)]
        provider = ScriptedProvider(forever=lambda: script[len(provider.calls) - 1 + skipped[0]])
        skipped = [0]
        async with standing(provider, cache=ON) as service:
            for text, caller, stream, temperature in wanted:
                before = len(provider.calls)
                raw = await read(
                    await service(zero(text, stream=stream, caller=caller, temperature=temperature))
                )
                skipped[0] += before == len(provider.calls)
                who = (text, caller, stream)
                assert came.setdefault(who, raw) == raw
                assert list(came.values()).count(raw) == 1

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", CacheAsked()),
        ("no-store", CacheAsked(look=False, store=False)),
        ("No-Cache", CacheAsked(look=False)),
        ("max-age=60", CacheAsked(asks=True, max_age_s=60.0)),
        ("max-age=0", CacheAsked(look=False, asks=True, max_age_s=0.0)),
        ("no-cache, max-age = 9", CacheAsked(look=False, asks=True, max_age_s=9.0)),
        ("only-if-cached", CacheAsked(asks=True, only_stored=True)),
        ("no-transform, max-stale=5", CacheAsked()),
    ],
)
def test_cache_control_is_read(value: str, expected: CacheAsked) -> None:
    assert read_cache_control(value) == expected


@pytest.mark.parametrize(
    "value", ["max-age", "max-age=-1", "max-age=1.5", "max-age=\u0661", "max-age=" + "9" * 20]
)
def test_an_age_that_is_no_number_is_the_callers_fault(value: str) -> None:
    with pytest.raises(InvalidCall):
        read_cache_control(value)
