"""Balance: who is ready and least loaded; nobody twice who was silent or refused for good."""

from __future__ import annotations

import asyncio
import math

import pytest

from stanchion.core.errors import Refused, Unavailable
from stanchion.core.reply import End
from stanchion.policies.balance import Balance, BalanceOptions
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import down, now, read


def provider(name: str, *script, **more) -> ScriptedProvider:
    return ScriptedProvider(*script, name=name, **more)


def balanced(*providers: ScriptedProvider, wait_most_s: float = 5.0) -> Balance:
    return Balance(lambda target: [(each, 1.0) for each in providers], BalanceOptions(wait_most_s))


@virtual_time
async def test_a_call_passes_through_to_the_only_endpoint() -> None:
    a = provider("a", chat_stream("x"))
    assert await read(await balanced(a)(chat_call(stream=True))) == b"".join(chat_stream("x"))


@virtual_time
async def test_the_target_names_the_endpoints() -> None:
    targets: list[str] = []
    a = provider("a", [chat_answer()])

    def endpoints(target: str):
        targets.append(target)
        return [(a, 1.0)]

    await read(await Balance(endpoints, BalanceOptions())(chat_call().having(target="route:x")))
    assert targets == ["route:x"]


@virtual_time
async def test_open_replies_count_against_an_endpoint() -> None:
    a, b = (provider(name, forever=lambda: [5.0, chat_answer()]) for name in "ab")
    service = balanced(a, b)
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(ask(service))
    assert (len(a.calls), len(b.calls), a.open, b.open) == (5, 5, 0, 0)


async def ask(service: Balance) -> None:
    await read(await service(chat_call()))


@virtual_time
async def test_one_that_failed_this_call_is_asked_only_where_no_other_is_ready() -> None:
    a, b = provider("a", forever=lambda: [chat_answer()]), provider("b", forever=lambda: [chat_answer()])
    call = chat_call().having(avoid=frozenset("a"))
    for _ in range(4):
        await read(await balanced(a, b)(call))
    assert (len(a.calls), len(b.calls)) == (0, 4)
    b.rests_until = 100.0
    await read(await balanced(a, b)(call))
    assert len(a.calls) == 1


@virtual_time
async def test_all_rest_and_the_first_to_be_ready_is_waited_for() -> None:
    a, b = provider("a"), provider("b", [chat_answer()])
    a.rests_until, b.rests_until = 4.0, 2.5
    await read(await balanced(a, b)(chat_call()))
    assert (now(), len(b.calls)) == (2.5, 1)


@virtual_time
async def test_a_rest_that_is_too_long_is_refused_at_once_with_the_time() -> None:
    a = provider("a")
    for until, deadline, told in ((5.5, math.inf, 5.5), (3.0, 2.0, 3.0), (math.inf, math.inf, 1.0)):
        a.rests_until = until
        with pytest.raises(Unavailable) as raised:
            await balanced(a)(chat_call(deadline=deadline))
        assert (raised.value.retry_after_s, now()) == (told, 0.0)


@virtual_time
async def test_a_rest_that_is_just_short_enough_is_waited_for() -> None:
    a = provider("a", [chat_answer()])
    a.rests_until = 5.0
    await read(await balanced(a)(chat_call()))
    assert now() == 5.0


@virtual_time
async def test_no_endpoint_at_all_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await balanced()(chat_call())


@virtual_time
async def test_one_that_refused_for_good_is_not_asked_again() -> None:
    a, b = provider("a"), provider("b", [chat_answer()])
    call = chat_call().having(never=frozenset("a"))
    await read(await balanced(a, b)(call))
    with pytest.raises(Unavailable, match="no other endpoint"):
        balanced(a)(call)
    assert a.calls == []


@virtual_time
async def test_a_silent_one_is_asked_again_only_where_no_other_exists() -> None:
    a, b = provider("a", [chat_answer()]), provider("b", [chat_answer()])
    call = chat_call().having(silent=frozenset("a"))
    await read(await balanced(a, b)(call))  # another endpoint exists
    assert (len(a.calls), len(b.calls)) == (0, 1)
    with pytest.raises(Unavailable):  # another target exists
        balanced(a)(call.having(last_target=False))
    await read(await balanced(a)(call))  # no other exists
    assert len(a.calls) == 1


@virtual_time
async def test_one_that_is_silent_is_preferred_to_one_that_is_dead() -> None:
    a, b = provider("a", [chat_answer()]), provider("b")
    await read(await balanced(a, b)(chat_call().having(silent=frozenset("ab"), never=frozenset("b"))))
    assert len(a.calls) == 1


@virtual_time
async def test_errors_pass_before_and_after_the_first_chunk() -> None:
    begin = chat_stream("x")[:1]
    a = provider("a", down(), [*begin, down()])
    with pytest.raises(Refused):
        await balanced(a, a)(chat_call(stream=True))
    got: list[bytes] = []
    with pytest.raises(Refused):
        await read(await balanced(a, a)(chat_call(stream=True)), got)
    assert (got, a.open) == (begin, 0)


@virtual_time
async def test_a_call_that_is_cancelled_while_it_waits_asks_nobody() -> None:
    a = provider("a")
    a.rests_until = 4.0
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ask(balanced(a)))
        await asyncio.sleep(1.0)
        task.cancel()
    await asyncio.sleep(10.0)
    assert a.calls == []


@virtual_time
async def test_a_reader_that_leaves_frees_the_endpoint() -> None:
    a, b = provider("a", chat_stream("x")), provider("b")
    async with await balanced(a, b)(chat_call(stream=True)) as reply:
        await anext(reply)
        assert a.in_flight == 1
    assert (a.in_flight, a.ends) == (0, [End.CANCELLED])
