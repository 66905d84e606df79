"""What waits to be read is bounded, and nothing of it is lost when the reader comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from stanchion.core.clock import Clock
from stanchion.providers.http import HttpClient, HttpOptions
from tests.integration.bad_servers import ask, read_all
from tests.integration.raw_server import RawServer, Visit


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(HttpOptions(), Clock())
    yield client
    await client.aclose()


@pytest.mark.parametrize(("piece", "count"), [(64 * 1024, 512), (7, 60_000)])
async def test_a_reader_that_pauses_stops_the_provider_and_loses_nothing(
    client: HttpClient, piece: int, count: int
) -> None:
    async def much(visit: Visit) -> None:
        visit.begin_stream()
        for _ in range(count):
            visit.say_chunk(b"x" * piece)
            await visit.flush()
        visit.end_stream()

    async with RawServer(much) as server:
        answer = await ask(client, server, stream=True)
        first = await answer.read()
        await asyncio.sleep(0.3)  # for whatever the provider can send while nobody reads
        waiting = cast("Any", answer.reader)
        # a read of the socket's may go over the bound before it is paused, and holds 256 KiB at most
        assert sum(map(len, waiting._buffer)) <= waiting._high_water + 256 * 1024
        assert len(waiting._buffer) <= waiting._high_water_chunks + 256 * 1024 // (piece + 5)
        assert len(first) + len(await read_all(answer)) == piece * count
        answer.abort()


async def test_an_answer_without_a_body_is_at_its_end(client: HttpClient) -> None:
    async def empty(visit: Visit) -> None:
        visit.say(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with RawServer(empty) as server:
        answer = await ask(client, server, stream=True)
        assert await read_all(answer) == b""
        answer.abort()


async def test_an_open_stream_keeps_no_key(client: HttpClient) -> None:
    """Not in the answer's copy of its request: a dump of the process should find as few as can be."""

    async def waits(visit: Visit) -> None:
        visit.begin_stream()
        visit.say_chunk(b"data: {}\n\n")

    async with RawServer(waits) as server:
        answer = await ask(client, server, stream=True)
        await answer.read()
        assert answer.response.request_info is None
        answer.abort()
