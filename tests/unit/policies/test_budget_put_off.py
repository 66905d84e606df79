"""A budget whose money is asked for below, in one step with the limits: held and settled as at once."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from stanchion.core.call import Call
from stanchion.core.errors import BudgetExceeded, Unavailable
from stanchion.core.reply import Reply
from stanchion.core.service import Service
from stanchion.policies.retry import Retry, RetryOptions
from stanchion.stores.admission import Apart
from stanchion.stores.dues import paid
from stanchion.stores.memory import MemoryLimits
from stanchion.testing import ScriptedProvider, chat_answer, virtual_time
from tests.unit.policies.budgeted import World
from tests.unit.policies.reading import answer, down, read
from tests.unit.policies.test_budget import asked, whole


async def payer(call: Call, service: Service) -> Reply:
    return await service(await paid(call))


def busy(call: Call, service: Service) -> Awaitable[Reply]:
    del call, service
    raise Unavailable("nobody is there")


def put_off(*services: ScriptedProvider, above=(payer,), **more) -> World:
    world = World(*services, above=above, **more)
    world.keeper.together = Apart(MemoryLimits(world.clock.now), world.store)
    return world


@virtual_time
async def test_it_is_held_below_and_settled_at_the_end() -> None:
    world = put_off(ScriptedProvider(whole()))
    reply = await answer(world.service, asked(100))
    assert await world.sums() == (0, 102 + 2 * 100)
    await read(reply)
    assert await world.sums() == (90 + 2 * 50, 0)
    assert world.keeper.holding == 0


@virtual_time
async def test_each_try_is_bounded_to_what_is_held() -> None:
    provider = ScriptedProvider(down(), whole())
    metrics = World(provider).metrics
    retry = Retry(RetryOptions(base_s=0.001), metrics, jitter=lambda: 0.5)
    world = put_off(provider, above=(retry, payer), micro=302)
    await read(await world(asked(5000)))
    assert [each.body.fields["max_tokens"] for each in provider.calls] == [100, 100]


@virtual_time
async def test_too_little_is_refused_below_and_nothing_is_held() -> None:
    provider = ScriptedProvider()
    world = put_off(provider, micro=100)
    with pytest.raises(BudgetExceeded):
        await world(asked(100))
    assert await world.sums() == (0, 0)
    assert world.budget.running == {}
    assert provider.calls == []


@virtual_time
async def test_a_call_that_fails_before_it_was_asked_for_settles_nothing() -> None:
    world = put_off(ScriptedProvider([chat_answer("x")]), above=(busy,))
    with pytest.raises(Unavailable):
        await world(asked(100))
    assert world.jobs == []
    assert world.budget.running == {}
