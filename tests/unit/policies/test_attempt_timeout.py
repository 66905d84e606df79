"""Attempt timeout: one try is only so patient."""

from __future__ import annotations

import pytest

from stanchion.core.call import Patience
from stanchion.core.errors import Cut, Refused, Silent
from stanchion.core.reply import End
from stanchion.core.service import Service, stack
from stanchion.policies.attempt_timeout import AttemptTimeout, AttemptTimeoutOptions
from stanchion.testing import ScriptedProvider, chat_answer, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import down, now, read

OPTIONS = AttemptTimeoutOptions(connect_s=1.0, first_token_s=4.0, stall_s=2.0, total_s=20.0)


def patient(provider: ScriptedProvider) -> Service:
    return stack(AttemptTimeout(OPTIONS), service=provider)


@virtual_time
async def test_an_answer_in_time_passes_through() -> None:
    provider = ScriptedProvider([3.5, *chat_stream("a")[:1], 1.5, *chat_stream("a")[1:]])
    assert await read(await patient(provider)(chat_call(stream=True))) == b"".join(chat_stream("a"))
    assert provider.calls[0].patience == Patience(1.0, 4.0, 2.0, 20.0)


@virtual_time
async def test_no_first_token_in_time_is_silence() -> None:
    provider = ScriptedProvider([60.0, *chat_stream("a")])
    reply = await patient(provider)(chat_call(stream=True))
    with pytest.raises(Silent):
        await read(reply)
    assert (now(), provider.ends) == (4.0, [End.FAILED])


@virtual_time
async def test_a_stall_in_the_middle_is_a_cut() -> None:
    provider, got = ScriptedProvider([*chat_stream("a")[:2], 60.0]), list[bytes]()
    with pytest.raises(Cut):
        await read(await patient(provider)(chat_call(stream=True)), got)
    assert (got, now()) == (chat_stream("a")[:2], 2.0)


@virtual_time
async def test_a_whole_answer_has_the_total_time() -> None:
    provider = ScriptedProvider([19.5, chat_answer()], [60.0, chat_answer()])
    await read(await patient(provider)(chat_call()))
    began = now()
    with pytest.raises(Silent):
        await patient(provider)(chat_call())
    assert now() - began == 20.0


@virtual_time
async def test_the_options_of_one_call_go_over_the_configured_ones() -> None:
    provider = ScriptedProvider([chat_answer()])
    own = AttemptTimeoutOptions(total_s=1.0)
    await read(await patient(provider)(chat_call().having(options={AttemptTimeoutOptions: own})))
    assert provider.calls[0].patience == own.patience()


@virtual_time
async def test_errors_and_readers_that_leave_are_none_of_its_business() -> None:
    provider = ScriptedProvider(down(), chat_stream("a"))
    with pytest.raises(Refused):
        await patient(provider)(chat_call())
    async with await patient(provider)(chat_call(stream=True)) as reply:
        await anext(reply)
    assert provider.ends == [End.CANCELLED]
