"""Idempotency: one key and one body are one upstream call, for all who ask, now and later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from stanchion.core.call import Call
from stanchion.core.errors import Cut, DeadlineExceeded, KeyReused, Refused, Unavailable
from stanchion.core.reply import End
from stanchion.core.service import Service, stack
from stanchion.policies.idempotency import Idempotency, IdempotencyOptions
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import answer, cut, down, now, read

STREAM = chat_stream("a", "b")


@asynccontextmanager
async def keeping(service: Service, **options) -> AsyncGenerator[Service]:
    """The filter over a service, with an engine's task group."""
    tasks: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:

        async def quiet(job) -> None:
            try:
                await job
            except (RuntimeError, AssertionError) as error:
                failures.append(error)

        failures: list[Exception] = []
        keep = Idempotency(
            IdempotencyOptions(**options), lambda job: tasks.append(group.create_task(quiet(job)))
        )
        yield stack(keep, service=service)
        for task in tasks:
            task.cancel()


def keyed(key: str | None = "k", *, stream: bool = True, **more) -> Call:
    return chat_call(stream=stream, idempotency_key=key, **more)


@virtual_time
async def test_a_call_without_a_key_passes_through() -> None:
    provider = ScriptedProvider(STREAM, STREAM)
    async with keeping(provider) as service:
        for _ in range(2):
            assert await read(await service(keyed(None))) == b"".join(STREAM)
    assert len(provider.calls) == 2


@virtual_time
async def test_the_same_key_and_body_are_one_call_upstream_with_the_same_bytes() -> None:
    provider = ScriptedProvider([1.0, *STREAM], [chat_answer()])
    async with keeping(provider) as service:
        for at in (1.0, 1.0):
            assert await read(await service(keyed())) == b"".join(STREAM)
            assert now() == at
        for _ in range(2):
            assert await read(await service(keyed("w", stream=False))) == chat_answer()
    assert (len(provider.calls), provider.ends) == (2, [End.COMPLETED] * 2)


@virtual_time
async def test_two_at_once_are_one_call_and_each_reads_at_its_own_pace() -> None:
    provider = ScriptedProvider([2.0, STREAM[0], 1.0, *STREAM[1:]])
    async with keeping(provider) as service:
        async with asyncio.TaskGroup() as group:
            fast = group.create_task(read_slowly(service, 0.0))
            slow = group.create_task(read_slowly(service, 10.0))
        assert fast.result() == (b"".join(STREAM), 3.0)
        assert slow.result() == (b"".join(STREAM), 2.0 + 10.0 * len(STREAM))
    assert len(provider.calls) == 1


async def read_slowly(service: Service, pause_s: float) -> tuple[bytes, float]:
    got = b""
    async with await service(keyed()) as reply:
        async for chunk in reply:
            got += chunk.raw
            await asyncio.sleep(pause_s)
    return got, now()


@virtual_time
async def test_a_reader_has_each_chunk_when_it_comes() -> None:
    provider, came = ScriptedProvider([STREAM[0], 3.0, STREAM[1], 4.0, *STREAM[2:]]), list[float]()
    async with keeping(provider) as service, await service(keyed()) as reply:
        async for _ in reply:
            came.append(now())
    assert came == [0.0, 3.0, 7.0, 7.0, 7.0]


@virtual_time
async def test_another_body_under_the_same_key_is_refused() -> None:
    provider = ScriptedProvider([chat_answer()])
    async with keeping(provider) as service:
        await read(await service(keyed(stream=False)))
        for other in (keyed(stream=True), keyed(stream=False, text="other"), keyed(stream=False, seed=1)):
            with pytest.raises(KeyReused) as raised:
                await service(other)
            assert raised.value.status == 422
    assert len(provider.calls) == 1


@virtual_time
async def test_the_same_key_of_another_caller_is_another_key() -> None:
    provider = ScriptedProvider([chat_answer("one")], [chat_answer("two")])
    async with keeping(provider) as service:
        one = await read(await service(keyed(stream=False).having(caller="a")))
        two = await read(await service(keyed(stream=False, text="other").having(caller="b")))
    assert (one, two) == (chat_answer("one"), chat_answer("two"))


@virtual_time
async def test_a_reader_that_leaves_finds_the_whole_answer_when_it_comes_back() -> None:
    provider = ScriptedProvider([STREAM[0], 5.0, *STREAM[1:]])
    async with keeping(provider) as service:
        async with await service(keyed()) as reply:
            await anext(reply)
        assert provider.open == 1  # the one who sent a key means to come back
        await asyncio.sleep(1.0)
        assert await read(await service(keyed())) == b"".join(STREAM)
        assert now() == 5.0
    assert (len(provider.calls), provider.ends) == (1, [End.COMPLETED])


@virtual_time
async def test_a_reader_that_is_cancelled_before_the_answer_finds_it_later() -> None:
    provider = ScriptedProvider([5.0, chat_answer()])
    async with keeping(provider) as service:
        task = asyncio.get_running_loop().create_task(answer(service, keyed(stream=False)))
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.sleep(10.0)
        assert await read(await service(keyed(stream=False))) == chat_answer()
    assert len(provider.calls) == 1


@virtual_time
async def test_a_failure_is_told_to_all_who_wait_and_is_not_kept() -> None:
    provider = ScriptedProvider([1.0, down()], [chat_answer()])
    async with keeping(provider) as service:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(refused(service))
        assert len(provider.calls) == 1
        assert await read(await service(keyed(stream=False))) == chat_answer()


async def refused(service: Service) -> None:
    with pytest.raises(Refused):
        await service(keyed(stream=False))


@virtual_time
async def test_a_failure_in_the_middle_is_told_where_it_happened_and_is_not_kept() -> None:
    provider, got = ScriptedProvider([*STREAM[:2], 1.0, cut()], STREAM), list[bytes]()
    async with keeping(provider) as service:
        with pytest.raises(Cut):
            await read(await service(keyed()), got)
        assert got == STREAM[:2]
        assert await read(await service(keyed())) == b"".join(STREAM)


@virtual_time
async def test_what_is_nobodys_fault_but_ours_is_told_too() -> None:
    provider = ScriptedProvider(RuntimeError("ours"), STREAM)
    async with keeping(provider) as service:
        with pytest.raises(RuntimeError, match="ours"):
            await service(keyed())
        assert await read(await service(keyed())) == b"".join(STREAM)  # and is not kept


@virtual_time
async def test_each_reader_keeps_to_its_own_deadline() -> None:
    provider = ScriptedProvider([STREAM[0], 50.0, *STREAM[1:]])
    async with keeping(provider) as service:
        patient = await service(keyed(deadline=100.0))
        hurried, got = await service(keyed(deadline=10.0)), list[bytes]()
        with pytest.raises(DeadlineExceeded):
            await read(hurried, got)
        assert (got, now()) == (STREAM[:1], 10.0)
        assert await read(patient) == b"".join(STREAM)


@virtual_time
async def test_an_answer_is_forgotten_after_its_life_from_its_end_on() -> None:
    provider = ScriptedProvider([100.0, chat_answer("1")], [chat_answer("2")])
    async with keeping(provider, life_s=60.0) as service:
        await read(await service(keyed(stream=False)))
        await asyncio.sleep(60.0)
        assert await read(await service(keyed(stream=False))) == chat_answer("1")
        await asyncio.sleep(0.5)
        assert await read(await service(keyed(stream=False))) == chat_answer("2")


@virtual_time
async def test_when_the_bytes_are_full_the_oldest_finished_go_first() -> None:
    size = len(chat_answer("0"))
    provider = ScriptedProvider(*([chat_answer(str(n))] for n in range(6)))
    async with keeping(provider, most_bytes=2 * size) as service:
        for key in "abc":
            await read(await service(keyed(key, stream=False)))
        assert await read(await service(keyed("c", stream=False))) == chat_answer("2")
        assert await read(await service(keyed("b", stream=False))) == chat_answer("1")
        assert await read(await service(keyed("a", stream=False))) == chat_answer("3")


@virtual_time
async def test_when_the_keys_are_full_of_open_calls_a_new_one_is_unavailable() -> None:
    provider = ScriptedProvider(forever=[9.0, chat_answer()])
    async with keeping(provider, most_keys=2) as service:
        open_ = [
            asyncio.get_running_loop().create_task(answer(service, keyed(key, stream=False))) for key in "ab"
        ]
        await asyncio.sleep(1.0)
        with pytest.raises(Unavailable):
            await service(keyed("c", stream=False))
        for task in open_:
            await (await task).aclose()
        assert await read(await service(keyed("c", stream=False))) == chat_answer()


@virtual_time
async def test_at_shutdown_all_who_wait_are_told() -> None:
    provider, told = ScriptedProvider([99.0, *STREAM]), list[str]()

    async def wait(service: Service) -> None:
        try:
            await service(keyed())
        except Unavailable as error:
            told.append(str(error))

    async with asyncio.TaskGroup() as group, keeping(provider) as service:
        group.create_task(wait(service))
        await asyncio.sleep(1.0)
    assert (told, provider.open) == (["shutting down"], 0)
