"""Clients that send too slowly or leave end their calls; those who do neither are not even looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from stanchion.core.clock import Clock
from stanchion.core.errors import InvalidCall
from stanchion.engine.settings import GatewayOptions
from stanchion.gateway.leaving import Leaving
from stanchion.gateway.requests import read_body
from stanchion.testing import virtual_time


class Peer:
    """What granian's `receive` gives: each message when it comes, and at last that the client left."""

    def __init__(self, *messages: tuple[float, Mapping[str, Any]]) -> None:
        self._messages = list(messages)
        self.asked = 0

    def __call__(self) -> asyncio.Future[Mapping[str, Any]]:
        self.asked += 1
        loop = asyncio.get_running_loop()
        coming = loop.create_future()
        if self._messages:
            after_s, message = self._messages.pop(0)
            loop.call_later(after_s, lambda: coming.done() or coming.set_result(message))
        return coming


def piece(body: bytes, *, more: bool = False) -> Mapping[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


LEFT = {"type": "http.disconnect"}


async def call(leaving: Leaving, peer: Peer, work_s: float, wait_s: float = 1.0) -> tuple[str, bytes]:
    """Read a body and work on it, as the gateway does."""
    client, _ = leaving.follow(peer)
    body = b""
    try:
        body = await read_body({}, peer, GatewayOptions(body_wait_s=wait_s), client)
        client.has_sent()
        await asyncio.sleep(work_s)
    except asyncio.CancelledError:
        if not client.left:
            raise
        return "left", body
    finally:
        client.done()
    return "answered", body


@virtual_time
async def test_a_call_that_ends_soon_is_not_watched() -> None:
    leaving, peer = Leaving(Clock(), 0.05), Peer((0.0, piece(b"{}")))
    assert await call(leaving, peer, 0.04) == ("answered", b"{}")
    await asyncio.sleep(1.0)
    assert peer.asked == 1


@virtual_time
async def test_a_client_that_leaves_ends_its_call() -> None:
    leaving, peer = Leaving(Clock(), 0.05), Peer((0.0, piece(b"{}")), (2.0, LEFT))
    began = asyncio.get_running_loop().time()
    assert await call(leaving, peer, 60.0) == ("left", b"{}")
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.05, abs=0.06)


@virtual_time
async def test_a_body_may_come_in_pieces_as_long_as_each_comes_in_time() -> None:
    leaving = Leaving(Clock(), 0.05)
    peer = Peer((0.9, piece(b"{", more=True)), (0.9, piece(b"", more=True)), (0.9, piece(b"}")))
    assert await call(leaving, peer, 0.5) == ("answered", b"{}")
    assert peer.asked == 4


@virtual_time
async def test_a_sender_that_is_too_slow_is_told_so_and_its_task_is_not_cancelled_any_more() -> None:
    leaving, peer = Leaving(Clock(), 0.05), Peer((0.0, piece(b"{", more=True)), (5.0, piece(b"}")))
    with pytest.raises(InvalidCall, match="did not come within 1 s") as raised:
        await call(leaving, peer, 0.0)
    assert raised.value.code == "body_timeout"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1.0)


@virtual_time
async def test_a_task_that_somebody_else_cancels_while_it_reads_stays_cancelled() -> None:
    leaving, peer = Leaving(Clock(), 0.05), Peer((5.0, piece(b"{}")))
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(call(leaving, peer, 0.0, wait_s=10.0))
        await asyncio.sleep(0.2)
        reading.cancel()
    assert reading.cancelled()


@virtual_time
async def test_a_slow_sender_holds_up_the_watch_over_nobody_else() -> None:
    leaving = Leaving(Clock(), 0.05)
    slow, leaver = Peer((30.0, piece(b"{}"))), Peer((0.0, piece(b"{}")), (0.5, LEFT))
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(call(leaving, slow, 0.0, wait_s=60.0))
        await asyncio.sleep(0.01)
        left = group.create_task(call(leaving, leaver, 60.0))
        await asyncio.sleep(1.0)
        assert left.done()
    assert (left.result(), sending.result()) == (("left", b"{}"), ("answered", b"{}"))
