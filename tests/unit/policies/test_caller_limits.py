"""Limits of callers: at which level, in which words, and what is booked when a call ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from stanchion.core.call import Body, Call, Operation
from stanchion.core.caller import Level, Limit, Standing
from stanchion.core.clock import Clock
from stanchion.core.errors import LimitReached
from stanchion.core.service import stack
from stanchion.observe.metrics import Metrics
from stanchion.policies.caller_limits import CallerLimits, OwnLimits, own_limits
from stanchion.policies.trace_attempt import TraceAttempt
from stanchion.rules.caller_limits import read_limits
from stanchion.stores.protocols import Slot, Take
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import down, read

MINUTE = "requests=2/minute"


def level(name: str, *words: str) -> Level:
    return Level(name, read_limits(words))


class Limited:
    def __init__(self, *script: Any, traced: bool = True) -> None:
        self.metrics, self.clock = Metrics(), Clock()
        self.store: OwnLimits = own_limits(self.clock)
        self.provider = ScriptedProvider(*script)
        limits = CallerLimits(self.store, self.clock, self.metrics)
        trace = [TraceAttempt("a/m", "m", self.metrics, self.clock)] if traced else []
        self.service = stack(limits, *trace, service=self.provider)

    async def ask(self, *levels: Level, fields: Mapping[str, Any] | None = None, **more: Any) -> bytes:
        return await read(await self.service(self.call(*levels, fields=fields, **more)))

    def call(
        self,
        *levels: Level,
        fields: Mapping[str, Any] | None = None,
        users: tuple[Limit, ...] = (),
        **more: Any,
    ) -> Call:
        call = chat_call(**more)
        if fields:
            call = call.having(body=Body({**call.body.fields, **fields}))
        return call.having(options={Standing: Standing(levels, users, "shop", b"salt")})

    async def depth(self, meter: str) -> float:
        taken = await self.store.limits.take([Take(meter, 0.0, 0.0)], (), "")
        return taken.depth_s[0]

    async def free_slots(self, slot: str, most: int) -> bool:
        taken = await self.store.limits.take((), [Slot(slot, most, 1.0)], "another")
        return taken.wait_s == 0


@virtual_time
async def test_a_call_without_a_standing_passes_and_counts_nothing() -> None:
    it = Limited([chat_answer("x")], [chat_answer("x")])
    for call in (chat_call(), it.call()):
        assert await read(await it.service(call)) == chat_answer("x")


@virtual_time
async def test_requests_beyond_the_limit_are_refused_with_the_limit_and_the_wait() -> None:
    it = Limited(*[[chat_answer("x")]] * 3)
    shop = level("caller shop", MINUTE)
    await it.ask(shop)
    await it.ask(shop)
    with pytest.raises(LimitReached, match="caller shop has used its limit of 2 requests a minute") as raised:
        await it.ask(shop)
    assert (raised.value.status, raised.value.code) == (429, "caller_limit_reached")
    assert raised.value.retry_after_s == pytest.approx(30.0)
    assert it.metrics.caller_limited.of("caller", "requests").value == 1
    assert len(it.provider.calls) == 2
    await asyncio.sleep(30.0)
    await it.ask(shop)


@virtual_time
async def test_if_one_level_is_full_nothing_is_taken_of_the_others() -> None:
    it = Limited(*[[chat_answer("x")]] * 4)
    wide = level("team web", "requests=4/minute", "open=9")
    await it.ask(level("key a", "requests=1/minute"), wide)
    for _ in range(5):
        with pytest.raises(LimitReached, match="key a"):
            await it.ask(level("key a", "requests=1/minute"), wide)
    for _ in range(3):
        await it.ask(wide)
    with pytest.raises(LimitReached, match="team web"):
        await it.ask(wide)
    assert await it.free_slots("caller team web open/0", 1)


@virtual_time
async def test_of_several_full_limits_the_longest_wait_is_told() -> None:
    it = Limited([chat_answer("x")])
    levels = (level("caller shop", "requests=1/minute"), level("team web", "requests=1/day"))
    await it.ask(*levels)
    with pytest.raises(
        LimitReached, match="team web has used its limit of 1 requests a day; there is room in 24 h"
    ):
        await it.ask(*levels)


@virtual_time
async def test_tokens_are_reserved_and_settled_with_what_was_used() -> None:
    it = Limited([chat_answer("x")])
    meter, limit = "caller caller shop tokens/60", Limit("tokens", 6000, 60)
    reply = await it.service(it.call(Level("caller shop", (limit,)), fields={"max_tokens": 1000}))
    reserved = await it.depth(meter) * 100
    assert 1000 < reserved < 1100
    await read(reply)
    assert reply.usage is not None
    assert await it.depth(meter) * 100 == pytest.approx(reply.usage.total_tokens)


@virtual_time
async def test_an_answer_longer_than_was_reserved_is_booked_whole() -> None:
    it = Limited(chat_stream(*["a", "b", "c", "d", "e", "f", "g", "h"]))
    reply = await it.service(it.call(level("caller shop", "tokens=6000/minute"), stream=True))
    await read(reply)
    assert reply.usage is not None
    assert await it.depth("caller caller shop tokens/60") * 100 == pytest.approx(reply.usage.total_tokens)


@virtual_time
async def test_a_call_that_can_never_fit_is_refused_as_too_large() -> None:
    it = Limited()
    with pytest.raises(
        LimitReached, match=r"counts \d+ tokens and the limit of caller shop is 10 tokens a day"
    ) as raised:
        await it.ask(level("caller shop", "tokens=10/day"), fields={"messages": [{"content": "x" * 400}]})
    assert (raised.value.code, raised.value.retry_after_s) == ("request_too_large", None)


@virtual_time
async def test_an_answers_bound_above_the_limit_does_not_keep_a_call_out_for_ever() -> None:
    it = Limited([chat_answer("x")])
    reply = await it.service(it.call(level("caller shop", "tokens=100/day"), fields={"max_tokens": 4096}))
    assert await it.depth("caller caller shop tokens/86400") == pytest.approx(86_400.0)  # all of it, not more
    await read(reply)


@virtual_time
async def test_a_place_is_held_until_the_answer_ends() -> None:
    it = Limited(chat_stream("x"), chat_stream("x"))
    shop = level("caller shop", "open=1")
    first = await it.service(it.call(shop, stream=True))
    with pytest.raises(
        LimitReached, match="caller shop has 1 calls open at once, as many as may be"
    ) as raised:
        await it.ask(shop)
    assert raised.value.retry_after_s == 1.0
    await read(first)
    second = await it.service(it.call(shop, stream=True))
    await second.aclose()  # a reader that leaves
    assert await it.free_slots("caller caller shop open/0", 1)


@virtual_time
async def test_a_call_that_fails_before_anything_was_sent_counts_nothing() -> None:
    it = Limited(down(), traced=False)
    shop = level("caller shop", MINUTE, "tokens=100/minute", "open=1")
    with pytest.raises(type(down())):
        await it.ask(shop)
    assert await it.depth("caller caller shop requests/60") == 0
    assert await it.depth("caller caller shop tokens/60") == 0
    assert await it.free_slots("caller caller shop open/0", 1)


@virtual_time
async def test_a_call_that_a_provider_refused_counts_as_a_request_and_no_tokens() -> None:
    it = Limited(down())
    with pytest.raises(type(down())):
        await it.ask(level("caller shop", MINUTE, "tokens=100/minute"))
    assert await it.depth("caller caller shop requests/60") == pytest.approx(30.0)
    assert await it.depth("caller caller shop tokens/60") == 0


@virtual_time
async def test_a_call_that_is_cancelled_while_it_waits_keeps_its_reservation_and_frees_its_place() -> None:
    it = Limited()
    began = asyncio.Event()

    async def slow(call: Call) -> Any:
        began.set()
        await asyncio.sleep(100.0)

    service = stack(
        CallerLimits(it.store, it.clock, it.metrics),
        TraceAttempt("a/m", "m", it.metrics, it.clock),
        service=slow,
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(service(it.call(level("caller shop", "tokens=6000/minute", "open=1"))))  # type: ignore[arg-type]
        await began.wait()
        task.cancel()
    assert await it.depth("caller caller shop tokens/60") > 0
    assert await it.free_slots("caller caller shop open/0", 1)


@virtual_time
@pytest.mark.parametrize("field", ["user", "safety_identifier"])
async def test_each_end_user_has_the_limit_for_itself_and_is_named_nowhere(field: str) -> None:
    it = Limited(*[[chat_answer("x")]] * 3)
    users = read_limits(["requests=1/minute"])
    await it.ask(fields={field: "ann@example.com"}, users=users)
    await it.ask(fields={field: "bob@example.com"}, users=users)
    with pytest.raises(
        LimitReached, match="this end user has used its limit of 1 requests a minute"
    ) as raised:
        await it.ask(fields={field: "ann@example.com"}, users=users)
    assert "ann" not in str(raised.value)
    assert not any("ann" in name for name, _ in it.store.limits.depths())  # type: ignore[attr-defined]
    await it.ask(users=users)  # a call that names nobody


@virtual_time
async def test_the_list_of_models_counts_nothing() -> None:
    it = Limited([b'{"data": []}'], [b'{"data": []}'], traced=False)
    for _ in range(2):
        reply = await it.service(
            it.call(level("caller shop", "requests=1/day")).having(operation=Operation.MODELS)
        )
        await reply.aclose()
    assert await it.depth("caller caller shop requests/86400") == 0
