"""An endpoint's stack: what outlives it does not keep it."""

from __future__ import annotations

import gc
import weakref

from stanchion.core.clock import Clock
from stanchion.core.secret import Secret
from stanchion.engine.settings import Settings
from stanchion.engine.stack import EndpointStack, Shared
from stanchion.keys.slot import KeySlot
from stanchion.observe.metrics import Metrics
from stanchion.policies.balance import Room
from stanchion.testing import ScriptedProvider, virtual_time
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
