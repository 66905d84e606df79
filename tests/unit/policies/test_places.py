"""Places at an endpoint: held until the reply ends, however it ends."""

from __future__ import annotations

import asyncio
import math

import pytest

from stanchion.core.errors import NotYet, Refused
from stanchion.core.service import stack
from stanchion.policies.places import Places
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import down, read


class Held:
    def __init__(self, most: int, *script) -> None:
        self.places = Places(most)
        self.provider = ScriptedProvider(*script)
        self.service = stack(self.places, service=self.provider)
        self.wakes = 0
        self.places.watch(self.woken)

    def woken(self) -> None:
        self.wakes += 1


@virtual_time
async def test_a_call_passes_through_where_any_number_may_be_open() -> None:
    held = Held(0, chat_stream("x"))
    assert await read(await held.service(chat_call(stream=True))) == b"".join(chat_stream("x"))
    assert (held.places.ready_in(), held.places.fill(), held.wakes) == (0.0, 0.0, 0)


@virtual_time
async def test_a_place_is_held_until_the_reply_ends() -> None:
    held = Held(2, chat_stream("x"), chat_stream("x"))
    first = await held.service(chat_call(stream=True))
    await first.first()
    assert (held.places.ready_in(), held.places.fill()) == (0.0, 0.5)
    second = await held.service(chat_call(stream=True))
    assert (held.places.ready_in(), held.places.fill()) == (math.inf, 1.0)
    with pytest.raises(NotYet):
        await held.service(chat_call())
    assert len(held.provider.calls) == 2
    await read(first)
    assert (held.places.ready_in(), held.wakes) == (0.0, 1)
    await second.aclose()  # a reader that leaves
    assert (held.places.fill(), held.wakes) == (0.0, 2)


@virtual_time
async def test_an_error_before_the_first_chunk_gives_the_place_back() -> None:
    held = Held(1, down())
    with pytest.raises(Refused):
        await held.service(chat_call())
    assert (held.places.ready_in(), held.wakes) == (0.0, 1)


@virtual_time
async def test_no_room_below_gives_the_place_back_and_wakes_nobody() -> None:
    held = Held(1, NotYet(0.25))
    with pytest.raises(NotYet):
        await held.service(chat_call())
    assert (held.places.ready_in(), held.wakes) == (0.0, 0)  # the line looks when it has heard why


@virtual_time
async def test_an_error_in_mid_stream_gives_the_place_back() -> None:
    held = Held(1, [*chat_stream("x")[:1], down()])
    with pytest.raises(Refused):
        await read(await held.service(chat_call(stream=True)))
    assert (held.places.ready_in(), held.wakes) == (0.0, 1)


@virtual_time
async def test_a_call_that_is_cancelled_gives_the_place_back() -> None:
    held = Held(1, [5.0, chat_answer()])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await held.service(chat_call())
    assert (held.places.ready_in(), held.wakes) == (0.0, 1)
