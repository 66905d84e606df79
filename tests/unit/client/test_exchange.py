"""What an SDK's request becomes, without a socket: paths, errors, headers."""

from __future__ import annotations

import msgspec
import pytest

from stanchion.client.exchange import Asked, exchange, refused
from stanchion.core.errors import InvalidCall, Refused, Unavailable
from stanchion.engine.config import load
from stanchion.engine.engine import Engine


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def asked(method: str, path: str, body: bytes = b"{}") -> Asked:
    return Asked(method, path, {}, body, None)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/chat/completions"), ("POST", "/v1/files"), ("POST", "/chat/completions"), ("POST", "/v1/")],
)
async def test_what_is_not_served_is_a_404_that_names_what_is(method: str, path: str):
    answered = await exchange(Engine(load(environ={})), asked(method, path))
    assert answered.status == 404
    assert "POST /v1/embeddings" in msgspec.json.decode(answered.body)["error"]["message"]


async def test_a_body_that_is_no_json_is_the_callers_fault():
    answered = await exchange(Engine(load(environ={})), asked("POST", "/v1/chat/completions", b"{"))
    assert answered.status == 400
    assert msgspec.json.decode(answered.body)["error"]["code"] == "invalid_json"


def test_a_refusal_says_what_the_provider_said_and_not_to_ask_again():
    error = Refused(
        "the provider answered 429",
        status=429,
        code="slow_down",
        said="Slow down, please.",
        retry_after_s=1.25,
        headers={"X-Request-Id": "req_1", "x-ratelimit-reset-tokens": "1s", "set-cookie": "a=b"},
    )
    answered = refused(error)
    assert answered.status == 429
    assert answered.headers == {
        "content-type": "application/json",
        "retry-after": "2",
        "retry-after-ms": "1250",
        "x-ratelimit-reset-tokens": "1s",
        "x-request-id": "req_1",
        "x-should-retry": "false",
    }
    said = msgspec.json.decode(answered.body)["error"]
    assert (said["message"], said["code"]) == ("Slow down, please.", "slow_down")


@pytest.mark.parametrize(("error", "status"), [(InvalidCall("no"), 400), (Unavailable("later"), 503)])
def test_our_own_errors_have_their_status(error, status: int):
    assert refused(error).status == status


async def test_a_priority_that_there_is_not_is_the_callers_fault():
    asked = Asked("POST", "/v1/chat/completions", {"x-stanchion-priority": "low"}, b'{"model": "m"}', None)
    answered = await exchange(Engine(load(environ={})), asked)
    assert answered.status == 400
    assert msgspec.json.decode(answered.body)["error"]["param"] == "x-stanchion-priority"
