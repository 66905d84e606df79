"""How calls are left and how connections live on, over real sockets: more of what an HTTP client must do here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from stanchion.core.clock import Clock
from stanchion.core.errors import (
    Cut,
    StanchionError,
    Unusable,
)
from stanchion.providers.http import HttpClient, HttpOptions
from tests.integration.bad_servers import (
    BODY,
    ask,
    fetch,
    is_silent,
    says_half_a_head,
    says_the_head_only,
    stalls,
    streamed,
    whole,
)
from tests.integration.raw_server import Answering, RawServer, Visit

NOTICED_S = 0.2  # within this the other end sees that a call was cancelled
GENEROUS_S = 1.5  # how late a timeout may ring on a busy machine


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(HttpOptions(), Clock())
    yield made
    await made.aclose()


# --- leaving -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [is_silent, says_half_a_head, says_the_head_only, stalls])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_call_closes_its_socket_at_once(
    client: HttpClient, answer: Answering, *, stream: bool
):
    loop = asyncio.get_running_loop()
    async with RawServer(answer) as server, asyncio.TaskGroup() as group:
        task = group.create_task(fetch(client, server, stream=stream))
        await asyncio.sleep(0.1)
        assert (server.requests, task.done()) == (1, False)
        cancelled_at = loop.time()
        task.cancel()
        async with asyncio.timeout(2):
            while not server.left_at:  # noqa: ASYNC110 - the server's end has no event
                await asyncio.sleep(0.001)
        assert server.left_at[0] - cancelled_at < NOTICED_S
        assert client.open_connections == 0


async def test_a_stream_that_is_given_up_closes_its_socket_at_once(client: HttpClient):
    loop = asyncio.get_running_loop()
    async with RawServer(stalls) as server:
        answer = await ask(client, server, stream=True)
        await answer.read()
        answer.abort()
        given_up_at = loop.time()
        async with asyncio.timeout(2):
            while not server.left_at:  # noqa: ASYNC110 - the server's end has no event
                await asyncio.sleep(0.001)
        assert server.left_at[0] - given_up_at < NOTICED_S
        assert client.open_connections == 0


async def test_300_calls_cancelled_at_random_moments_leave_nothing(client: HttpClient):
    chance = random.Random(20261124)

    async def lingers(visit: Visit) -> None:
        await asyncio.sleep(chance.random() * 0.01)
        visit.begin_stream()
        for _ in range(5):
            visit.say_chunk(b"data: {}\n\n")
            await visit.flush()
            await asyncio.sleep(chance.random() * 0.01)
        visit.end_stream()

    async def one_call(server: RawServer) -> None:
        try:
            async with asyncio.timeout(chance.random() * 0.06):
                await fetch(client, server, stream=chance.random() < 0.5)
        except TimeoutError:
            return

    before = len(asyncio.all_tasks())
    async with RawServer(lingers) as server:
        for _ in range(10):
            async with asyncio.TaskGroup() as group:
                for _ in range(30):
                    group.create_task(one_call(server))
        assert await fetch(client, server, stream=True) == b"data: {}\n\n" * 5
        idle = client.open_connections
        await client.aclose()
        async with asyncio.timeout(2):
            while server.open:  # noqa: ASYNC110 - the server's end has no event
                await asyncio.sleep(0.005)
    assert idle <= 30
    async with asyncio.timeout(2):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - the server's own tasks end
            await asyncio.sleep(0.005)


# --- connections -------------------------------------------------------------------------------------


async def test_a_connection_is_used_again_after_a_whole_answer(client: HttpClient):
    async with RawServer(whole) as server:
        for _ in range(5):
            assert await fetch(client, server, stream=False) == b'{"ok":true}'
        assert (server.connections, server.requests) == (1, 5)


async def test_a_connection_is_used_again_after_a_stream_that_ended(client: HttpClient):
    async with RawServer(streamed) as server:
        for _ in range(5):
            assert (await fetch(client, server, stream=True)).endswith(b"data: [DONE]\n\n")
        assert (server.connections, server.requests) == (1, 5)


async def test_a_connection_is_used_again_after_an_error_answer(client: HttpClient):
    async def refuses(visit: Visit) -> None:
        visit.say_json(b'{"error":{}}', status="503 Service Unavailable")

    async with RawServer(refuses) as server:
        for _ in range(3):
            answer = await ask(client, server, stream=True)
            assert (answer.status, await answer.read_whole()) == (503, b'{"error":{}}')
            answer.abort()
        assert server.connections == 1


async def test_the_end_of_a_stream_is_taken_so_that_its_connection_lives(client: HttpClient):
    async def ends_late(visit: Visit) -> None:
        visit.begin_stream()
        visit.say_chunk(b"data: [DONE]\n\n")
        await visit.flush()
        await asyncio.sleep(0.02)
        visit.end_stream()

    async with RawServer(ends_late) as server:
        for _ in range(3):
            answer = await ask(client, server, stream=True)
            assert await answer.read() == b"data: [DONE]\n\n"
            await answer.drain()
        assert server.connections == 1


async def test_a_body_that_never_ends_after_the_last_event_costs_its_connection_only(client: HttpClient):
    async def never_ends(visit: Visit) -> None:
        visit.begin_stream()
        visit.say_chunk(b"data: [DONE]\n\n")
        await visit.until_left()

    async with RawServer(never_ends) as server:
        answer = await ask(client, server, stream=True)
        await answer.read()
        async with asyncio.timeout(GENEROUS_S):
            await answer.drain()
        assert client.open_connections == 0


async def test_an_answer_that_is_too_long_is_refused():
    client = HttpClient(HttpOptions(answer_most_bytes=1000), Clock())

    async def long(visit: Visit) -> None:
        visit.say_json(b'"' + b"x" * 10_000_000 + b'"')

    async with RawServer(long) as server:
        with pytest.raises(Cut) as caught:
            await fetch(client, server, stream=False)
        assert caught.value.code == "answer_too_long"
        assert client.open_connections == 0
    await client.aclose()


async def test_a_head_that_is_too_long_is_refused(client: HttpClient):
    async def boastful(visit: Visit) -> None:
        visit.say_json(b"{}", headers=b"x-long: %b\r\n" % (b"x" * 200_000))

    async with RawServer(boastful) as server:
        with pytest.raises(StanchionError) as caught:
            await fetch(client, server, stream=False)
        assert (type(caught.value), caught.value.code) == (Unusable, "bad_http")


async def test_a_redirect_is_not_followed(client: HttpClient):
    async def moved(visit: Visit) -> None:
        visit.say_json(b"{}", status="307 Temporary Redirect", headers=b"location: http://127.0.0.1:9/\r\n")

    async with RawServer(moved) as server:
        answer = await ask(client, server, stream=False)
    assert answer.status == 307


async def test_what_is_sent_is_what_was_given(client: HttpClient):
    seen: list[tuple[bytes, bytes]] = []

    async def notes(visit: Visit) -> None:
        seen.append((visit.head.lower(), visit.body))
        visit.say_json(b"{}")

    async with RawServer(notes) as server:
        await fetch(client, server, stream=False)
    ((head, body),) = seen
    assert body == BODY
    assert b"content-type: application/json" in head
    assert b"accept-encoding: identity" in head
    assert b"cookie" not in head
