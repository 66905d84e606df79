"""Two limiters that share a store keep one quota as one; what fails on the way to the store is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stanchion.core.call import Call
from stanchion.core.errors import NotYet, Unreachable
from stanchion.core.reply import Reply
from stanchion.core.service import stack
from stanchion.policies.rate_limit import Quota
from stanchion.rules.quota import Ceilings
from stanchion.simulator.quota import Limits
from stanchion.stores.memory import MemoryLimits
from stanchion.stores.protocols import Slot, StoreLost, Take, Taken
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, virtual_time
from tests.unit.policies.limited import Metered, keep_asking, limiter, open_calls
from tests.unit.policies.reading import answer, now, read, unreachable

TWO = Quota(ceilings=Ceilings(requests_per_minute=2))


class SlowStore(MemoryLimits):
    """A store that takes its time, and may fail at the end of it."""

    def __init__(self, after_s: float, error: Exception | None = None) -> None:
        super().__init__(now)
        self._after_s = after_s
        self._error = error

    async def take(self, takes: Sequence[Take], slots: Sequence[Slot], holder: str) -> Taken:
        await asyncio.sleep(self._after_s)
        if self._error is not None:
            raise self._error
        return await super().take(takes, slots, holder)


@virtual_time
async def test_a_caller_that_leaves_while_the_store_is_asked_leaves_nothing_booked() -> None:
    provider = ScriptedProvider()
    limit = limiter(TWO, store=SlowStore(5.0))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(answer(stack(limit, service=provider), chat_call()))
        await asyncio.sleep(1.0)
        assert limit.text() == "requests 1/2 a minute"
        task.cancel()
    assert limit.text() == "requests 2/2 a minute"
    assert open_calls(limit) == {0}
    assert provider.calls == []


@virtual_time
async def test_an_error_of_the_store_leaves_nothing_booked() -> None:
    limit = limiter(TWO, store=SlowStore(1.0, StoreLost("gone")))
    with pytest.raises(StoreLost):
        await stack(limit, service=ScriptedProvider())(chat_call())
    assert limit.text() == "requests 2/2 a minute"
    assert open_calls(limit) == {0}


@virtual_time
async def test_what_others_used_leaves_no_room_and_nothing_booked_here() -> None:
    store = MemoryLimits(now)
    first, second = limiter(TWO, store=store), limiter(TWO, store=store)
    provider = ScriptedProvider(forever=lambda: [chat_answer()])
    taken = 0
    for _ in range(4):
        try:
            await read(await first(chat_call(), provider))
            taken += 1
        except NotYet:
            break
    assert taken >= 1
    with pytest.raises(NotYet) as caught:
        await second(chat_call(), provider)
    assert 0 < caught.value.wait_s < 60
    assert second.text() == "requests 2/2 a minute"
    assert open_calls(second) == {0}
    assert len(provider.calls) == taken


@virtual_time
async def test_the_store_is_given_back_what_was_not_sent() -> None:
    store = MemoryLimits(now)
    limit = limiter(TWO, store=store)

    for _ in range(20):
        with pytest.raises(Unreachable):
            await stack(limit, service=ScriptedProvider(unreachable()))(chat_call())
    assert sum(depth for _, depth in store.depths()) == pytest.approx(0.0, abs=1e-9)


def windows(times: list[float], seconds: float) -> int:
    return max(sum(start <= each < start + seconds for each in times) for start in times)


@virtual_time
async def test_two_fill_one_quota_as_one_and_are_not_refused() -> None:
    store, provider = MemoryLimits(now), Metered(Limits(rpm=300, tpm=10**9))
    async with asyncio.TaskGroup() as group:
        for limit in (limiter(store=store), limiter(store=store)):
            for _ in range(20):
                group.create_task(keep_asking(limit, provider, 120.0))
    assert 0.93 * 300 * 3 <= len(provider.let_in) <= 300 * 3 + 1
    assert provider.refused <= 10


@virtual_time
async def test_who_comes_later_need_not_wait_until_what_the_other_used_has_come_back() -> None:
    store, provider = MemoryLimits(now), Metered(Limits(rpm=300, tpm=10**9))
    later = list[float]()

    async def counted(call: Call, /) -> Reply:
        later.append(now())
        return await provider(call)

    async with asyncio.TaskGroup() as group:
        first, second = limiter(store=store), limiter(store=store)
        for _ in range(60):
            group.create_task(keep_asking(first, provider, 4.0))
        await asyncio.sleep(2.0)
        for _ in range(20):
            group.create_task(keep_asking(second, counted, 5.0))
    assert len(later) >= 45, "it learns as fast as if it were alone; 21 if it waits for what the other booked"
    assert provider.refused <= 10


@virtual_time
async def test_two_keep_one_ceiling_as_one_in_every_window() -> None:
    store, provider = MemoryLimits(now), Metered(Limits(rpm=10**6, tpm=10**9))
    quota = Quota(ceilings=Ceilings(requests_per_minute=60))
    async with asyncio.TaskGroup() as group:
        for limit in (limiter(quota, store=store), limiter(quota, store=store)):
            for _ in range(20):
                group.create_task(keep_asking(limit, provider, 300.0))
    assert windows(provider.let_in, 60.0) <= 60
    assert len(provider.let_in) >= 0.85 * 60 * 5


async def no_slot(limit) -> NotYet:
    with pytest.raises(NotYet) as caught:
        await limit(chat_call(), ScriptedProvider(forever=lambda: [chat_answer()]))
    return caught.value


@virtual_time
async def test_who_finds_no_slot_looks_again_ever_later_and_at_most_in_a_quarter_second() -> None:
    store, provider = MemoryLimits(now), ScriptedProvider(forever=lambda: [chat_answer()])
    limit = limiter(Quota(open_most=1), store=store)
    for _ in range(2):
        reply = await limit(chat_call(), provider)
        refused = [await no_slot(limit) for _ in range(7)]
        assert [each.wait_s for each in refused] == [0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25]
        assert not any(each.firm for each in refused)  # a slot of our own may come back any time
        await read(reply)
