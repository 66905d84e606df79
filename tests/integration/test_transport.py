"""What the engine relies on in its HTTP client, over real sockets: another client must pass all of this too."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stanchion.core.call import Body, Operation, json_call
from stanchion.core.clock import Clock
from stanchion.core.errors import (
    Cut,
    DeadlineExceeded,
    Sent,
    Silent,
    Unreachable,
    Unusable,
    UpstreamError,
)
from stanchion.engine.config import Loaded
from stanchion.engine.engine import Engine
from stanchion.engine.settings import ProviderSettings, Settings
from stanchion.providers.http import HttpClient, HttpOptions
from tests.integration.bad_servers import (
    ask,
    closes_at_once,
    fetch,
    is_cut,
    is_cut_below_its_length,
    is_no_http,
    is_silent,
    lies_about_its_chunks,
    read_all,
    resets_at_once,
    resets_in_the_body,
    says_half_a_head,
    says_the_head_only,
    stalls,
    streamed,
    trickles,
    trickles_its_head,
    whole,
)
from tests.integration.raw_server import Answering, RawServer, Visit

GENEROUS_S = 1.5  # how late a timeout may ring on a busy machine


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(HttpOptions(), Clock())
    yield made
    await made.aclose()


QUICK = {"first_token_s": 0.3, "stall_s": 0.3, "total_s": 0.6}
FAILURES: list[tuple[Answering, bool, type[UpstreamError], str, Sent]] = [
    (closes_at_once, False, Silent, "reset_before_answer", Sent.NO_ANSWER),
    (closes_at_once, True, Silent, "reset_before_answer", Sent.NO_ANSWER),
    (resets_at_once, False, Silent, "reset_before_answer", Sent.NO_ANSWER),
    (resets_at_once, True, Silent, "reset_before_answer", Sent.NO_ANSWER),
    (is_silent, False, Silent, "attempt_timeout", Sent.NO_ANSWER),
    (is_silent, True, Silent, "first_token_timeout", Sent.NO_ANSWER),
    (says_half_a_head, False, Silent, "attempt_timeout", Sent.NO_ANSWER),
    (says_half_a_head, True, Silent, "first_token_timeout", Sent.NO_ANSWER),
    (trickles_its_head, False, Silent, "attempt_timeout", Sent.NO_ANSWER),
    (trickles_its_head, True, Silent, "first_token_timeout", Sent.NO_ANSWER),
    (says_the_head_only, False, Silent, "attempt_timeout", Sent.NO_ANSWER),
    (says_the_head_only, True, Silent, "first_token_timeout", Sent.NO_ANSWER),
    (stalls, False, Cut, "attempt_timeout", Sent.ANSWERED),
    (stalls, True, Cut, "stalled", Sent.ANSWERED),
    (trickles, False, Cut, "attempt_timeout", Sent.ANSWERED),
    (trickles, True, Cut, "attempt_timeout", Sent.ANSWERED),
    (is_cut, False, Cut, "reset_in_answer", Sent.ANSWERED),
    (is_cut, True, Cut, "reset_in_answer", Sent.ANSWERED),
    (is_cut_below_its_length, False, Cut, "reset_in_answer", Sent.ANSWERED),
    (is_cut_below_its_length, True, Cut, "reset_in_answer", Sent.ANSWERED),
    (resets_in_the_body, False, Cut, "reset_in_answer", Sent.ANSWERED),
    (resets_in_the_body, True, Cut, "reset_in_answer", Sent.ANSWERED),
    # noticed late by this client: its parser stops, and the body waits on
    (lies_about_its_chunks, False, Cut, "attempt_timeout", Sent.ANSWERED),
    (lies_about_its_chunks, True, Cut, "stalled", Sent.ANSWERED),
    (is_no_http, False, Unusable, "bad_http", Sent.ANSWERED),
    (is_no_http, True, Unusable, "bad_http", Sent.ANSWERED),
]


@pytest.mark.parametrize(
    ("answer", "stream", "kind", "code", "sent"),
    FAILURES,
    ids=[f"{row[0].__name__}-{'stream' if row[1] else 'whole'}" for row in FAILURES],
)
async def test_failures_are_told_apart(
    client: HttpClient, answer: Answering, kind: type, code: str, sent: Sent, *, stream: bool
):
    async with RawServer(answer) as server:
        with pytest.raises(UpstreamError) as caught:
            await fetch(
                client, server, stream=stream, **(QUICK if "timeout" in code or code == "stalled" else {})
            )
        assert (type(caught.value), caught.value.code, caught.value.sent) == (kind, code, sent)
        assert client.open_connections == 0
        assert server.requests == 1, "the client asks once: whoever tries again is the engine"


async def test_a_refused_connection_sent_nothing(client: HttpClient):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable) as caught:
        await fetch(client, f"http://127.0.0.1:{port}/v1", stream=False)
    assert (caught.value.code, caught.value.sent) == ("connection_refused", Sent.NOT_SENT)


async def test_a_name_without_an_address_sent_nothing(client: HttpClient):
    with pytest.raises(Unreachable) as caught:
        await fetch(client, "http://nobody.invalid/v1", stream=False, total_s=10.0)
    assert (caught.value.code, caught.value.sent) == ("dns", Sent.NOT_SENT)


async def test_a_connection_that_does_not_come_about_in_time_sent_nothing(client: HttpClient):
    with socket.socket() as full:  # a queue that is full: the next one's SYN is not answered
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(full.getsockname())
            with pytest.raises(Unreachable) as caught:
                await fetch(
                    client, f"http://127.0.0.1:{full.getsockname()[1]}/v1", stream=True, connect_s=0.3
                )
        finally:
            for each in waiting:
                each.close()
    assert (caught.value.code, caught.value.sent) == ("connect_timeout", Sent.NOT_SENT)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that nobody has reason to trust."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    asked = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    made = subprocess.run(
        ["openssl", *asked.split(), "-keyout", str(file), "-out", f"{file}.crt"],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("no openssl here")
    file.write_bytes(file.read_bytes() + Path(f"{file}.crt").read_bytes())
    return file


def tls_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_a_certificate_nobody_vouches_for_is_refused_before_anything_is_sent(
    client: HttpClient, certificate: Path
):
    async with RawServer(whole, tls=tls_of(certificate)) as server:
        with pytest.raises(Unreachable) as caught:
            await fetch(client, server, stream=False)
        assert (caught.value.code, caught.value.sent) == ("tls", Sent.NOT_SENT)
        assert server.requests == 0


async def test_an_authority_of_ones_own_is_trusted(certificate: Path):
    client = HttpClient(HttpOptions(ca_file=f"{certificate}.crt"), Clock())
    async with RawServer(whole, tls=tls_of(certificate)) as server:
        assert await fetch(client, server, stream=False) == b'{"ok":true}'
        await client.aclose()


async def test_tls_to_a_server_without_it_sent_nothing(client: HttpClient):
    async with RawServer(whole) as server:
        with pytest.raises(Unreachable) as caught:
            await fetch(client, f"https://127.0.0.1:{server.port}/v1", stream=False, connect_s=1.0)
    assert caught.value.sent is Sent.NOT_SENT


# --- time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [is_silent, says_the_head_only, stalls, trickles])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_deadline_ends_every_wait(client: HttpClient, answer: Answering, *, stream: bool):
    loop = asyncio.get_running_loop()
    async with RawServer(answer) as server:
        began_at = loop.time()
        with pytest.raises(DeadlineExceeded):
            await fetch(client, server, stream=stream, deadline_s=0.2)
        assert 0.2 <= loop.time() - began_at < 0.2 + GENEROUS_S
        assert client.open_connections == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_the_deadline_ends_a_call_with_an_idempotency_key_at_the_provider_too(*, stream: bool):
    """A task of the engine's reads it, so that no caller's own timeout stands around it."""
    async with RawServer(is_silent) as server:
        settings = Settings(providers={"raw": ProviderSettings(base_url=server.base_url, auth="none")})
        async with Engine(Loaded(settings, {}, None, False, {})) as engine:
            body = Body({"model": "m", "messages": [{"role": "user", "content": "?"}], "stream": stream})
            call = json_call(Operation.CHAT, body, idempotency_key="k", deadline=engine.clock.now() + 0.2)
            with pytest.raises(DeadlineExceeded):
                await engine(call)
            async with asyncio.timeout(GENEROUS_S):
                while not server.left_at:  # noqa: ASYNC110 - the server's end has no event
                    await asyncio.sleep(0.005)
            assert engine.open_connections == 0


async def test_a_slow_stream_is_not_a_stalled_one(client: HttpClient):
    async def slow(visit: Visit) -> None:
        visit.begin_stream()
        for _ in range(8):
            await asyncio.sleep(0.1)
            visit.say_chunk(b"data: {}\n\n")
        visit.end_stream()

    async with RawServer(slow) as server:
        data = await fetch(client, server, stream=True, first_token_s=0.6, stall_s=0.6)
    assert data == b"data: {}\n\n" * 8


async def test_a_reader_that_takes_its_time_does_not_make_the_provider_stall(client: HttpClient):
    async with RawServer(streamed) as server:
        answer = await ask(client, server, stream=True, first_token_s=0.3, stall_s=0.1)
        parts = [await answer.read()]
        await asyncio.sleep(0.3)
        parts.append(await read_all(answer))
        assert b"".join(parts).endswith(b"data: [DONE]\n\n")
        answer.abort()
