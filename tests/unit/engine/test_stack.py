"""An endpoint's stack: what outlives it does not keep it."""

from __future__ import annotations

import asyncio
import gc
import weakref

import msgspec
import pytest

from stanchion.core.clock import Clock
from stanchion.core.secret import Secret
from stanchion.core.trail import Branch
from stanchion.engine.settings import RouteSettings, Settings
from stanchion.engine.stack import EndpointStack, Shared, call_stack
from stanchion.keys.slot import KeySlot
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance import Room
from stanchion.policies.hedge import HedgeOptions
from stanchion.policies.idempotency import Idempotency, IdempotencyOptions
from stanchion.testing import ScriptedProvider, chat_call, chat_stream, virtual_time
from tests.unit.keys.ringed import OLD, Place, now, spec


@virtual_time
async def test_a_key_wakes_who_waits_at_its_endpoints_and_keeps_none_of_them() -> None:
    clock, slot = Clock(), KeySlot(spec(), Place(OLD))
    slot.offer(Secret(OLD), 0.0)
    room = Room(Metrics(), clock)
    shared = Shared(Metrics(), clock, room=room)
    woken = list[int]()

    def endpoint(number: int) -> EndpointStack:
        made = EndpointStack(f"a/m{number}", "m", ScriptedProvider(), Settings(), shared, key=slot)
        made.watch(lambda: woken.append(number))
        made.watch(lambda: room.woken(made))  # as the room does it: it holds the endpoint
        return made

    endpoints = [endpoint(number) for number in range(50)]
    kept = [weakref.ref(each) for each in endpoints]
    slot.release(now())
    assert woken == list(range(50))
    del endpoints[1:]
    gc.collect()
    assert [each() is not None for each in kept] == [True] + [False] * 49
    slot.release(now())
    assert woken == [*range(50), 0]
    endpoint(50)
    assert len(slot._wakes) == 2  # those of endpoints that are gone are forgotten


OFF, ON = HedgeOptions(), HedgeOptions(on=True)


@pytest.mark.parametrize(
    ("settings", "hedges"),
    [
        (Settings(), False),
        (Settings(routes={"r": RouteSettings(balance=("a/m",), hedge=OFF)}), False),
        (Settings(hedge=ON), True),
        (Settings(routes={"r": RouteSettings(balance=("a/m",), hedge=ON)}), True),
    ],
)
@virtual_time
async def test_a_hedge_stands_in_the_stack_only_where_one_may_be_made(
    settings: Settings, hedges: bool
) -> None:
    provider, clock, metrics = ScriptedProvider(chat_stream("a"), name="a/m"), Clock(), Metrics()
    async with asyncio.TaskGroup() as group:
        spawn = group.create_task
        service = call_stack(
            settings,
            Shared(metrics, clock, spawn=spawn),
            Idempotency(IdempotencyOptions(), spawn),
            lambda _: ["a/m"],
            lambda _: [(provider, 1.0)],
        )
        call = chat_call(stream=True).having(options={HedgeOptions: ON})
        async with await service(call) as reply:
            await reply.read_whole()
    assert isinstance(provider.calls[0].trail, Branch) == hedges


def test_endpoints_share_a_key_where_it_comes_from_one_place_whatever_they_are_called() -> None:
    def key_of(endpoint: str, **differs: str) -> str:
        slot = KeySlot(msgspec.structs.replace(spec(), **differs), Place(OLD))
        return EndpointStack(
            endpoint, "m", ScriptedProvider(), Settings(), Shared(Metrics(), Clock()), key=slot
        ).key

    assert key_of("a/m#one") == key_of("a/other#one") == key_of("b/m", name="b#two", provider="b")
    assert key_of("a/m#one") != key_of("a/m#two", place="environment variable OTHER")
    assert key_of("a/m#one") != key_of("a/m#one", base_url="https://elsewhere.example/v1")
    assert OLD not in key_of("a/m#one")
