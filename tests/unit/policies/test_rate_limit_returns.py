"""What the limiter gives back, lets go of and does not mistake: paths that are rarely taken."""

from __future__ import annotations

import asyncio
import gc

import pytest

from stanchion.core.call import Body, Call
from stanchion.core.chunk import Chunk
from stanchion.core.errors import NotYet
from stanchion.core.reply import Head, Reply
from stanchion.policies.rate_limit import Quota
from stanchion.rules.ceilings import Ceilings
from stanchion.stores.memory import MemoryLimits
from stanchion.testing import chat_answer, chat_call, virtual_time
from stanchion.wire.answers import read_whole
from tests.unit.policies.limited import limiter, now, open_calls, read, refused

TEN = Quota(ceilings=Ceilings(requests_per_minute=10), careful=False)


async def let_in(call: Call) -> Reply:
    await asyncio.sleep(0.05)
    return Reply.whole(Head(), Chunk(chat_answer(), read_whole(call.operation)))


@virtual_time
async def test_a_call_that_something_below_has_no_room_for_is_given_back_here_and_in_the_store() -> None:
    async def resting(call: Call) -> Reply:
        del call
        raise NotYet(0.05)

    for store in (None, MemoryLimits(now)):
        limit = limiter(TEN, store=store)
        for _ in range(30):  # a key that is being probed says so again and again
            with pytest.raises(NotYet, match=r"0\.05"):
                await limit(chat_call(), resting)
        assert limit.text() == "requests 10/10 a minute"
        assert open_calls(limit) == {0}


@virtual_time
async def test_refusals_of_one_moment_that_tell_nothing_make_the_guessed_rate_smaller_once() -> None:
    limit = limiter(Quota(careful=False))
    refusing = False

    async def provider(call: Call) -> Reply:
        at = now()
        await asyncio.sleep(0.05 + (hash(call.id) % 7) / 1000)  # the answers of one moment come one by one
        if refusing and at >= begun:
            raise refused(call=call)
        return Reply.whole(Head(), Chunk(chat_answer(), read_whole(call.operation)))

    async def ask() -> None:
        try:
            await read(await limit(chat_call(), provider))
        except Exception:  # noqa: BLE001 - the retry rules would decide
            return

    for _ in range(200):  # a hundred a second, far from every limit
        await ask()
    begun, refusing = now(), True
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(ask())
    refusing = False
    began, passed = now(), 0
    while now() < began + 10:
        call = chat_call()
        wait_s = limit.ready_in(now(), call)
        if wait_s > 0:
            await asyncio.sleep(wait_s + 1e-6)
            continue
        await read(await limit(call, let_in))
        passed += 1
    assert passed >= 50, "as it was before, or nearly: a bunch says no more than one of it"


@virtual_time
async def test_a_limiter_holds_no_body_when_its_call_has_gone_on() -> None:
    limit = limiter(Quota(starts=Ceilings(tokens_per_minute=100_000), careful=False))
    call = chat_call()
    limit.ready_in(now(), call)
    await read(await limit(call, let_in))
    assert not any(isinstance(each, Body) for each in gc.get_referents(vars(limit)))


@virtual_time
async def test_where_the_output_is_reserved_no_call_is_counted_by_its_bytes() -> None:
    limit = limiter(Quota(starts=Ceilings(tokens_per_minute=1_000_000), careful=False, reserves_output=True))
    charged = 0
    for _ in range(400):
        call = chat_call(max_tokens=8_000)
        if limit.ready_in(now(), call) > 0:
            break
        await read(await limit(call, let_in))
        charged += 8_000
    assert charged <= 1_000_000 * (1 + now() / 60)
