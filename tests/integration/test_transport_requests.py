"""How a request stands on the wire, sent by us or by the client library: nobody can tell which it was."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.http_writer import StreamWriter
from yarl import URL

from stanchion.core.clock import Clock
from stanchion.core.errors import UpstreamError
from stanchion.providers import http_request
from stanchion.providers.http import HttpClient, HttpOptions, prepared
from tests.integration.bad_servers import BODY, closes_at_once, fetch, is_silent, limits
from tests.integration.raw_server import RawServer, Visit


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["ours", "the library's"])
def sender(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(http_request, "_known", request.param == "ours")
    return request.param


@pytest.fixture
async def client(sender: str) -> AsyncIterator[HttpClient]:
    del sender
    made = HttpClient(HttpOptions(), Clock())
    yield made
    await made.aclose()


class Ear:
    """A server that keeps what it hears."""

    def __init__(self) -> None:
        self.head: list[str] = []
        self.body = b""

    async def __call__(self, visit: Visit) -> None:
        self.head, self.body = visit.head.decode().strip().split("\r\n"), visit.body
        visit.say_json(b"{}")


async def send(client: HttpClient, url: str, headers: dict[str, str], body: bytes = BODY) -> None:
    await client.open("POST", URL(url), prepared(headers), body, limits(stream=False))


def test_the_library_that_is_installed_is_known():
    assert http_request._known


async def test_a_request_has_the_host_first_and_each_header_once(client: HttpClient):
    ear = Ear()
    async with RawServer(ear) as server:
        await send(client, f"{server.base_url}/x?a=1", {"Authorization": "Bearer k", "accept": "text/x"})
    line, *headers = ear.head
    found = [(name.lower(), value) for name, _, value in (each.partition(": ") for each in headers)]
    assert line == f"POST {URL(server.base_url).path}/x?a=1 HTTP/1.1"
    assert found[0][0] == "host"
    assert len(dict(found)) == len(found)
    told = dict(found)
    assert told.pop("user-agent").startswith("stanchion/")
    assert told.pop("host") == URL(server.base_url).authority
    assert told == {
        "content-type": "application/json",
        "accept": "text/x",
        "accept-encoding": "identity",
        "authorization": "Bearer k",
        "content-length": str(len(BODY)),
    }
    assert ear.body == BODY


async def test_a_host_that_the_configuration_names_is_sent(client: HttpClient):
    ear = Ear()
    async with RawServer(ear) as server:
        await send(client, server.base_url, {"Host": "other.example"})
    assert [each for each in ear.head if each.lower().startswith("host")] == ["Host: other.example"]


async def test_a_base_url_with_a_name_and_a_password_is_authorized_by_them(client: HttpClient):
    ear = Ear()
    async with RawServer(ear) as server:
        await send(client, server.base_url.replace("http://", "http://me:secret@"), {})
    assert f"Authorization: Basic {base64.b64encode(b'me:secret').decode()}" in ear.head


@pytest.mark.parametrize("size", [1, 32 * 1024, 32 * 1024 + 1, 1_000_000])
async def test_a_body_of_any_size_arrives_whole(client: HttpClient, size: int):
    ear, body = Ear(), b"x" * size
    async with RawServer(ear) as server:
        await send(client, server.base_url, {}, body)
        await send(client, server.base_url, {}, body[::-1])
    assert ear.body == body[::-1]
    assert server.connections == 1


class _Answer:
    """An answer that is given up, or has come already."""

    closed = True


class _Protocol:
    transport = asyncio.Transport()
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_what_is_given_up_before_it_was_written_is_not_written():
    protocol: Any = _Protocol()
    loop: Any = None
    answer: Any = _Answer()
    http_request._write(StreamWriter(protocol, loop), BODY, answer)  # this transport refuses a write
    assert protocol.closed == 1


async def test_a_server_that_hangs_up_is_told_apart_and_asked_anew(client: HttpClient):
    async with RawServer(closes_at_once) as server:
        for _ in range(2):
            with pytest.raises(UpstreamError) as caught:
                await fetch(client, server, stream=False)
            assert caught.value.code == "reset_before_answer"
    assert client.open_connections == 0


async def test_what_waits_when_the_client_is_closed_ends(client: HttpClient):
    async def asks(server: RawServer) -> None:
        with pytest.raises(UpstreamError):
            await fetch(client, server, stream=False)

    async with RawServer(is_silent) as server, asyncio.TaskGroup() as group:
        group.create_task(asks(server))
        await asyncio.sleep(0.1)
        await client.aclose()
