"""Validate: a wrong shape reaches nobody."""

from __future__ import annotations

import pytest

from stanchion.core.call import Body
from stanchion.core.errors import Cut, InvalidCall, Refused
from stanchion.core.reply import End
from stanchion.core.service import stack
from stanchion.policies.validate import Validate
from stanchion.testing import ScriptedProvider, chat_call, chat_stream, virtual_time
from tests.unit.policies.reading import cut, down, read


@virtual_time
async def test_a_well_shaped_call_passes_through_untouched() -> None:
    provider, call = ScriptedProvider(chat_stream("a")), chat_call(stream=True, tomorrow=1)
    assert await read(await stack(Validate(), service=provider)(call)) == b"".join(chat_stream("a"))
    assert provider.calls == [call]


@virtual_time
async def test_a_wrong_shape_is_refused_and_asks_nobody() -> None:
    provider = ScriptedProvider()
    call = chat_call().having(body=Body({"model": "m", "messages": [{"content": "no role"}]}))
    with pytest.raises(InvalidCall) as raised:
        await stack(Validate(), service=provider)(call)
    assert (raised.value.param, raised.value.status, provider.calls) == ("messages[0].role", 400, [])


@virtual_time
async def test_errors_and_readers_that_leave_are_none_of_its_business() -> None:
    provider = ScriptedProvider(down(), [*chat_stream("a")[:1], cut()], chat_stream("a"))
    service = stack(Validate(), service=provider)
    with pytest.raises(Refused):
        await service(chat_call(stream=True))
    with pytest.raises(Cut):
        await read(await service(chat_call(stream=True)))
    async with await service(chat_call(stream=True)) as reply:
        await anext(reply)
    assert provider.ends == [End.FAILED, End.CANCELLED]
