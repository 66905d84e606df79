"""What comes in at a gateway's edge: slow, huge, deep, broken, ambiguous; and what goes on to the provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.raw_client import Answer, Wire, ask, request
from tests.acceptance.stage import ASKED, QUICK, Gateway, LoopThread, provider
from tests.integration.raw_server import RawServer, Visit

BODY_MOST, HEADER_MOST = 20_000, 16_384
EDGES = f"""
body_most_bytes = {BODY_MOST}
header_most_bytes = {HEADER_MOST}
header_wait_s = 0.5
body_wait_s = 0.5
heartbeat_s = 0
drain_notice_s = 0
"""
WHOLE = (Path(__file__).parents[1] / "data" / "chat_whole.json").read_bytes()
FINE = {"model": "gpt-4o", "messages": ASKED}


class Listener(LoopThread):
    """A provider that keeps what it is sent, and answers well."""

    def __enter__(self) -> Listener:
        super().__enter__()
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

        async def answer(visit: Visit) -> None:
            self.heads.append(visit.head)
            self.bodies.append(visit.body)
            visit.say_json(WHOLE)

        self._server = self.do(lambda: RawServer(answer))
        self.base_url = self.run(self._server.__aenter__()).base_url
        return self

    def __exit__(self, *error: object) -> None:
        self.run(self._server.__aexit__())
        super().__exit__(None, None, None)

    def forget(self) -> None:
        self.heads.clear()
        self.bodies.clear()


@pytest.fixture(scope="module")
def listening() -> Iterator[Listener]:
    with Listener() as running:
        yield running


@pytest.fixture(scope="module")
def edge(listening: Listener, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = QUICK + provider("ear", listening.base_url)
    with Gateway(tmp_path_factory.mktemp("edge"), settings, gateway=EDGES) as running:
        yield running


@pytest.fixture
def ear(listening: Listener) -> Listener:
    listening.forget()
    return listening


def assert_refused(seen: Answer, status: int, code: str | None) -> None:
    assert (seen.status, seen.error["code"]) == (status, code)
    assert seen.error["type"] == "invalid_request_error"
    assert seen.headers["x-request-id"].startswith("req_")
    assert seen.headers["x-should-retry"] == "false"


# --- bodies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b'{"model": "gpt-4o", "messages": [',
        b'{"model": "gpt-4o", "messages": [], "temperature": NaN}',
        b'{"model": "gpt-4o", "messages": [], "temperature": Infinity}',
        b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
        b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\xc3"}]}',
        b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
        b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "a\x00b"}]}',
        b'\xef\xbb\xbf{"model": "gpt-4o", "messages": []}',
        b'{"model": "gpt-4o"} {"model": "gpt-4"}',
        b'["model", "gpt-4o"]',
        b'"gpt-4o"',
        b"null",
        b'{"model": "gpt-4o", "messages": ' + b"[" * 9000 + b"]" * 9000 + b"}",
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
    ],
    ids=[
        "nothing",
        "no JSON",
        "half",
        "NaN",
        "infinity",
        "bad UTF-8",
        "half a character",
        "encoded surrogate",
        "lone surrogate",
        "control character",
        "byte order mark",
        "two objects",
        "list",
        "string",
        "null",
        "deep list",
        "deep object",
    ],
)
async def test_a_body_that_is_no_json_object_is_refused_and_nobody_is_asked(
    edge: Gateway, ear: Listener, body: bytes
):
    seen = await ask(edge.port, body)
    assert_refused(seen, 400, "invalid_json")
    assert ear.bodies == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": ASKED}, "model"),
        ({"model": 7, "messages": ASKED}, "model"),
        ({"model": "gpt-4o"}, "messages"),
        ({"model": "gpt-4o", "messages": "hello"}, "messages"),
        ({"model": "gpt-4o", "messages": []}, "messages"),
        ({"model": "gpt-4o", "messages": ASKED, "stream": "yes"}, "stream"),
    ],
)
async def test_a_body_of_the_wrong_shape_names_the_field(
    edge: Gateway, ear: Listener, body: dict[str, Any], param: str
):
    seen = await ask(edge.port, body)
    assert seen.status == 400
    assert seen.error["param"] == param
    assert ear.bodies == []


async def test_an_unchanged_body_goes_on_as_it_came(edge: Gateway, ear: Listener):
    body = b'{ "messages": [{"role":"user","content":"\\u4f60\xe5\xa5\xbd"}],\n "model" : "gpt-4o", "brand_new": 1.50 }'
    assert (await ask(edge.port, body)).status == 200
    assert ear.bodies == [body]


@pytest.mark.parametrize(
    ("body", "judged"),
    [
        (b'{"model":"a","messages":[{"role":"user","content":"?"}],"model":"b"}', {"model": "b"}),
        (b'{"model":"a","messages":[{"role":"user","content":"?"}],"mod\\u0065l":"b"}', {"model": "b"}),
        (b'{"model":"a","messages":[{"role":"user","content":"?"}],"\\u006dodel":"b"}', {"model": "b"}),
        (
            b'{"model":"a","messages":[{"role":"user","content":"?"}],"stream":true,"stream":false}',
            {"stream": False},
        ),
        (b'{"model":"a","messages":[{"role":"user","content":"?"}],"n":100,"n":1}', {"n": 1}),
        (b'{"model":"a","messages":[{"role":"user","content":"?"}],"\\u006E":100,"n":1}', {"n": 1}),
        (
            b'{"model":"a","messages":[{"role":"user","content":"?"}],"max_tokens":9,"max_tokens":1}',
            {"max_tokens": 1},
        ),
        (
            b'{"model":"a","messages":[{"role":"user","content":"bad"}],"messages":[{"role":"user","content":"good"}]}',
            {"messages": [{"role": "user", "content": "good"}]},
        ),
    ],
)
async def test_the_provider_gets_what_the_gateway_judged(
    edge: Gateway, ear: Listener, body: bytes, judged: dict[str, Any]
):
    """Twins could be read one way here and another way there: only one of them goes on."""
    assert (await ask(edge.port, body)).status == 200
    pairs: list[list[tuple[str, Any]]] = []
    json.loads(ear.bodies[0], object_pairs_hook=lambda found: pairs.append(found) or dict(found))
    keys = [key for key, _ in pairs[-1]]
    assert len(keys) == len(set(keys)), "no twins"
    sent = json.loads(ear.bodies[0])
    assert {name: sent[name] for name in judged} == judged


# --- sizes -------------------------------------------------------------------------------------------


async def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(edge: Gateway, ear: Listener):
    async with await Wire.open(edge.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 999999999\r\n\r\n")
        seen = await wire.answer()
        assert_refused(seen, 413, "body_too_long")
        assert await wire.is_closed()
    assert ear.bodies == []


async def test_a_body_in_chunks_that_becomes_too_long_is_refused(edge: Gateway, ear: Listener):
    async with await Wire.open(edge.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(BODY_MOST // 1000 + 2):
            wire.send(b"3e8\r\n", b"x" * 1000, b"\r\n")
        assert_refused(await wire.answer(), 413, "body_too_long")
    assert ear.bodies == []


async def test_a_body_in_chunks_is_read_whole(edge: Gateway, ear: Listener):
    body = json.dumps(FINE).encode()
    async with await Wire.open(edge.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 7):
            wire.send(b"%x\r\n%b\r\n" % (len(body[at : at + 7]), body[at : at + 7]))
        wire.send(b"0\r\n\r\n")
        assert (await wire.answer()).status == 200
    assert ear.bodies == [body]


async def test_headers_that_are_too_long_are_refused(edge: Gateway, ear: Listener):
    async with await Wire.open(edge.port) as wire:
        wire.send(request(FINE, headers={"x-long": "x" * (HEADER_MOST + 10_000)}))
        assert (await wire.head()).status == 431
    assert ear.bodies == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_compressed_body_is_refused(edge: Gateway, ear: Listener, encoding: str):
    seen = await ask(edge.port, b"\x1f\x8b", headers={"content-encoding": encoding})
    assert_refused(seen, 415, None)
    assert ear.bodies == []


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "+5", "1, 2"])
async def test_a_length_that_is_no_number_is_refused(edge: Gateway, ear: Listener, length: str):
    async with await Wire.open(edge.port) as wire:
        wire.send(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: {length}\r\n\r\n".encode()
        )
        assert 400 <= (await wire.head()).status < 500
    assert ear.bodies == []


# --- slowness ----------------------------------------------------------------------------------------


async def test_headers_that_do_not_come_are_not_waited_for(edge: Gateway):
    async with await Wire.open(edge.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n")
        assert await wire.is_closed(5)


async def test_headers_that_trickle_are_not_waited_for(edge: Gateway):
    async with await Wire.open(edge.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\n")
        closed = asyncio.Event()

        async def watch() -> None:
            await wire.is_closed(5)
            closed.set()

        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(watch())
            while not closed.is_set():
                wire.send(b"x")
                await asyncio.sleep(0.1)


async def test_a_body_that_does_not_come_is_told_and_not_waited_for(edge: Gateway, ear: Listener):
    async with await Wire.open(edge.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n{")
        assert_refused(await wire.answer(), 408, "body_timeout")
        assert await wire.is_closed()
    assert ear.bodies == []


async def test_a_client_that_leaves_in_its_body_leaves_nothing(edge: Gateway, ear: Listener):
    async with await Wire.open(edge.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n{")
        await wire.writer.drain()
    assert (await ask(edge.port, FINE)).status == 200
    assert len(ear.bodies) == 1
    assert "Traceback" not in edge.log


# --- methods and paths -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_another_method_is_told_which_is_right(edge: Gateway, method: str, path: str):
    seen = await ask(edge.port, b"", method=method, path=path)
    assert_refused_page(seen, 405, "method_not_allowed")
    assert "POST" in seen.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/v2/chat/completions", "/v1/chat", "/v1/chat/completions/", "/v1/images/generations", "/.env"]
)
async def test_another_path_is_told_which_there_are(edge: Gateway, path: str):
    assert_refused_page(await ask(edge.port, FINE, path=path), 404, "unknown_path")


async def test_a_base_url_without_the_version_is_told_so(edge: Gateway):
    seen = await ask(edge.port, FINE, path="/chat/completions")
    assert_refused_page(seen, 404, "unknown_path")
    assert "/v1" in seen.error["message"]


def assert_refused_page(seen: Answer, status: int, code: str) -> None:
    assert (seen.status, seen.error["code"]) == (status, code)
    assert seen.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/v1/models"])
async def test_head_answers_as_get_without_a_body(edge: Gateway, path: str):
    async with await Wire.open(edge.port) as wire:
        wire.send(request(b"", method="HEAD", path=path))
        assert (await wire.answer(method="HEAD")).status == 200
        wire.send(request(b"", method="GET", path="/healthz"))
        assert (await wire.answer()).json["status"] == "ok", "the connection is still in step"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/"])
async def test_options_is_answered_in_form(edge: Gateway, path: str):
    seen = await ask(edge.port, b"", method="OPTIONS", path=path)
    assert seen.status in (200, 204, 405)
    assert seen.whole


async def test_a_query_does_not_hide_a_path(edge: Gateway):
    assert (await ask(edge.port, FINE, path="/v1/chat/completions?api-version=2026-01-01")).status == 200


async def test_pipelined_requests_are_answered_in_order(edge: Gateway, ear: Listener):
    bodies = [json.dumps({**FINE, "user": str(number)}).encode() for number in range(5)]
    async with await Wire.open(edge.port) as wire:
        wire.send(*[request(body) for body in bodies])
        statuses = [(await wire.answer()).status for _ in bodies]
    assert statuses == [200] * 5
    assert ear.bodies == bodies


async def test_what_is_no_http_is_closed(edge: Gateway):
    async with await Wire.open(edge.port) as wire:
        wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n")
        assert await wire.is_closed(5)
    assert (await ask(edge.port, FINE)).status == 200


# --- what goes on ------------------------------------------------------------------------------------


async def test_credentials_cookies_and_unknown_headers_of_the_caller_do_not_go_on(
    edge: Gateway, ear: Listener
):
    private = {
        "authorization": "Bearer sk-mine",
        "cookie": "session=1",
        "x-forwarded-for": "10.0.0.1",
        "openai-organization": "org-mine",
        "x-api-key": "sk-mine",
        "openai-beta": "assistants=v2",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    assert (await ask(edge.port, FINE, headers=private)).status == 200
    head = ear.heads[0].lower()
    for name in ("sk-mine", "session=1", "10.0.0.1", "org-mine"):
        assert name.encode() not in head
    assert b"openai-beta: assistants=v2" in head
    assert b"traceparent: 00-0af7651916cd43dd8448eb211c80319c" in head


@pytest.mark.parametrize(
    "headers",
    [
        {"idempotency-key": ""},
        {"idempotency-key": "x" * 256},
        {"idempotency-key": "\x01"},
        {"last-event-id": "x"},
        {"x-stanchion-priority": "low"},
    ],
)
async def test_a_header_that_says_nothing_is_refused(edge: Gateway, ear: Listener, headers: dict[str, str]):
    seen = await ask(edge.port, {**FINE, "stream": True}, headers=headers)
    assert seen.status == 400
    assert ear.bodies == []
