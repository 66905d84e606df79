"""The admin API: off without a token, closed without the right one, and what it hands out once."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from stanchion.core.errors import SettingsError
from stanchion.engine.settings import CallersOptions
from stanchion.gateway.callers.admin import read_token
from stanchion.rules.virtual_key import read_id
from tests.acceptance.raw_client import ask
from tests.acceptance.stage import ASKED, QUICK, Gateway, Provider, provider

TOKEN = "a-token-of-the-admin-5f1c2e77"
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
def settings(one: Provider) -> str:
    return QUICK + provider("one", one.base_url, "models = []") + "[callers]\nrequired = true\n"


def admin(
    running: Gateway, path: str, body: Any = None, *, token: str = TOKEN, method: str | None = None
) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{running.origin}/admin/callers{path}", data, {"authorization": f"Bearer {token}"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


async def status(running: Gateway, key: str) -> int:
    body = {"model": "gpt-4o", "messages": ASKED, "max_tokens": 2}
    return (await ask(running.port, body, headers={"authorization": f"Bearer {key}"})).status


async def test_a_caller_lives_and_ends_through_the_admin_api(tmp_path: Path, settings: str) -> None:
    with Gateway(tmp_path, settings, environ={"STANCHION_ADMIN_TOKEN": TOKEN}) as running:
        code, made = admin(
            running,
            "",
            {"name": "shop", "team": "web", "limits": ["requests=100/minute"], "models": ["gpt-4o*"]},
        )
        assert (code, made["caller"], made["id"]) == (201, "shop", f"sk-st-{read_id(made['key'])}")
        assert await status(running, made["key"]) == 200  # at once on this replica
        assert await status(running, TOKEN) == 401  # the admin token is no caller's key
        code, listed = admin(running, "")
        assert code == 200
        assert listed["callers"][0]["limits"] == ["requests=100/minute"]
        assert listed["keys"][0]["models"] == ["gpt-4o*"]
        assert made["key"][15:] not in json.dumps(listed)
        assert "digest" not in json.dumps(listed)

        assert (
            admin(running, "/limits", {"target": "shop", "limits": ["requests=1/day"]}, method="PUT")[0]
            == 200
        )
        assert [await status(running, made["key"]) for _ in range(2)] == [200, 429]
        assert admin(running, "/limits", {"target": "shop", "limits": []}, method="PUT")[0] == 200

        code, rotated = admin(running, "/rotate", {"target": "shop", "grace_s": 0})
        assert code == 201
        assert [await status(running, each["key"]) for each in (made, rotated)] == [401, 200]
        assert admin(running, "/revoke", {"target": rotated["key"]}) == (200, {"revoked": [rotated["id"]]})
        assert await status(running, rotated["key"]) == 401
    done = [json.loads(line) for line in running.log.splitlines() if '"admin.done"' in line]
    assert [event["what"] for event in done] == ["added", "limited", "limited", "rotated", "revoked"]
    for secret in (made["key"][15:], rotated["key"][15:], TOKEN):
        assert secret not in running.log


async def test_without_the_right_token_nothing_is_told_and_nothing_is_done(
    tmp_path: Path, settings: str
) -> None:
    with Gateway(tmp_path, settings, environ={"STANCHION_ADMIN_TOKEN": TOKEN}) as running:
        for wrong in ("", "wrong", TOKEN[:-1], TOKEN + "x", "ü" * 30):
            code, said = admin(running, "", {"name": "shop"}, token=wrong.encode().decode("latin-1"))
            assert (code, said["error"]["code"]) == (401, "invalid_api_key")
        assert admin(running, "")[1]["keys"] == []
        for path, body, method in [
            ("", {"name": "sk-x"}, "POST"),
            ("", {"nam": "shop"}, "POST"),
            ("", {"name": "shop", "operations": ["paint"]}, "POST"),
            ("", {"name": "shop", "networks": ["ten"]}, "POST"),
            ("", {"name": "shop", "limits": ["many"]}, "POST"),
            ("/limits", {"target": "shop", "limits": []}, "PUT"),
            ("/revoke", {"target": "sk-st-12345678"}, "POST"),
            ("/rotate", {"target": "shop"}, "POST"),
        ]:
            code, said = admin(running, path, body, method=method)
            assert code in (400, 404), (path, said)
            assert said["error"]["message"]
        assert admin(running, "")[1] == {"version": 0, "teams": [], "callers": [], "keys": []}


async def test_without_a_token_there_is_no_admin_api(tmp_path: Path, settings: str) -> None:
    with Gateway(tmp_path, settings) as running:
        code, said = admin(running, "", {"name": "shop"})
        assert (code, said["error"]["code"]) == (404, "unknown_path")


def test_a_token_that_is_easily_guessed_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="shorter than 24") as raised:
        read_token(CallersOptions(), {"STANCHION_ADMIN_TOKEN": "short-one"})
    assert "short-one" not in str(raised.value)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_token(CallersOptions(admin_token_file=str(tmp_path / "gone")), {})
    (tmp_path / "token").write_text(TOKEN + "\n")
    found = read_token(CallersOptions(admin_token_file=str(tmp_path / "token")), {})
    assert found is not None
    assert found.reveal() == TOKEN
    assert read_token(CallersOptions(), {}) is None
